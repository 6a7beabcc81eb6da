//! The profile `watch` of the compose file: Prometheus as it would run there, and what Grafana is given.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::compose::{compose, secrets};
use super::root;
use crate::harness::{PATIENCE, Program, Setup, eventually, skipped};

/// Whether files of YAML can be read here.
pub(super) fn reads_yaml() -> Result<(), String> {
    let imports = Command::new("/usr/bin/python3")
        .args(["-c", "import yaml"])
        .output();
    match imports {
        Ok(done) if done.status.success() => Ok(()),
        Ok(_) | Err(_) => Err("python3 with yaml is not here".to_owned()),
    }
}

/// A file of YAML as JSON.
pub(super) fn yaml(path: &Path) -> Value {
    let script = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
    let done = Command::new("/usr/bin/python3")
        .args(["-c", script])
        .arg(path)
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    serde_json::from_slice(&done.stdout).unwrap()
}

fn texts(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap().iter();
    list.map(|text| text.as_str().unwrap()).collect()
}

/// What a service mounts of the repository: there, and in the container.
fn mounts(service: &Value) -> Vec<(&str, &str)> {
    let volumes = texts(&service["volumes"]).into_iter();
    volumes
        .filter_map(|volume| {
            let (here, rest) = volume.strip_prefix("./")?.split_once(':')?;
            Some((here, rest.strip_suffix(":ro").expect("read only")))
        })
        .collect()
}

#[test]
fn the_watching_services_run_when_they_are_asked_for_and_with_few_rights() {
    let test = "the_watching_services_run_when_they_are_asked_for_and_with_few_rights";
    let compose = match compose() {
        Ok(compose) => compose,
        Err(reason) => return skipped(test, &reason),
    };
    let services = compose["services"].as_object().unwrap();
    for (name, service) in services {
        let is_watching = ["prometheus", "grafana"].contains(&name.as_str());
        assert_eq!(service["profiles"].is_array(), is_watching, "{name}");
        if !is_watching {
            continue;
        }
        assert_eq!(texts(&service["profiles"]), ["watch"], "{name}");
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(texts(&service["cap_drop"]), ["ALL"], "{name}");
        let image = service["image"].as_str().unwrap();
        let (_, tag) = image.rsplit_once(':').unwrap();
        assert!(tag.contains('.') && tag != "latest", "{image} moves");
        for port in texts(&service["ports"]) {
            assert!(port.starts_with("127.0.0.1:"), "{name}: {port}");
        }
        let mounted = mounts(service);
        assert!(!mounted.is_empty(), "{name}");
        for (here, _) in mounted {
            assert!(root().join(here).exists(), "{name}: {here}");
        }
    }
}

/// The service's own command, with its files and its target where they are here.
#[test]
fn the_prometheus_of_the_compose_file_finds_counterd() {
    let test = "the_prometheus_of_the_compose_file_finds_counterd";
    let compose = match compose() {
        Ok(compose) => compose,
        Err(reason) => return skipped(test, &reason),
    };
    if Command::new("prometheus")
        .arg("--version")
        .output()
        .is_err()
    {
        return skipped(test, "prometheus is not here");
    }
    let service = &compose["services"]["prometheus"];
    let home = tempfile::tempdir().unwrap();
    let server = Setup::new(home.path()).start();
    let (here, there) = mounts(service)[0];
    let files = home.path().join("etc");
    fs::create_dir(&files).unwrap();
    for file in fs::read_dir(root().join(here)).unwrap() {
        let path = file.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("/run/secrets") || text.contains("#authorization"));
        let text = text.replace("counterd:8080", &server.address().to_string());
        fs::write(files.join(path.file_name().unwrap()), text).unwrap();
    }
    // counterd's name and port, as the other services know it.
    let config = fs::read_to_string(root().join(here).join("prometheus.yml")).unwrap();
    assert!(config.contains("[\"counterd:8080\"]"));
    let data = home.path().join("prometheus");
    let arguments = texts(&service["command"]).into_iter().map(|word| {
        let word = word.replace(there, files.to_str().unwrap());
        word.replace("=/prometheus", &format!("={}", data.display()))
    });
    let prometheus = Program::start("prometheus", arguments, tempfile::tempdir().unwrap());
    let target = eventually("the target is up", PATIENCE, || {
        let answer = prometheus.client().get("/api/v1/targets");
        let targets = answer.json()["data"]["activeTargets"].clone();
        (targets[0]["health"] == "up").then(|| targets[0].clone())
    });
    assert_eq!(target["labels"]["job"], "counterd");
    drop(prometheus);
    server.stop();
}

/// Grafana itself is not to be had here: what it is given fits together.
#[test]
fn grafana_finds_its_source_and_its_dashboard() {
    let test = "grafana_finds_its_source_and_its_dashboard";
    let compose = match compose() {
        Ok(compose) => compose,
        Err(reason) => return skipped(test, &reason),
    };
    let grafana = &compose["services"]["grafana"];
    let provisioning = root().join("deploy/grafana/provisioning");
    let sources = yaml(&provisioning.join("datasources/prometheus.yml"));
    assert_eq!(sources["apiVersion"], 1);
    let source = &sources["datasources"][0];
    assert_eq!(
        (&source["type"], &source["access"]),
        (&"prometheus".into(), &"proxy".into())
    );
    let url = source["url"].as_str().unwrap();
    let (host, port) = url
        .strip_prefix("http://")
        .unwrap()
        .split_once(':')
        .unwrap();
    let ports = texts(&compose["services"][host]["ports"]);
    assert!(ports[0].ends_with(&format!(":{port}")), "{url}");
    let looks = yaml(&root().join("deploy/prometheus/prometheus.yml"));
    assert_eq!(
        source["jsonData"]["timeInterval"],
        looks["global"]["scrape_interval"]
    );
    let providers = yaml(&provisioning.join("dashboards/counterd.yml"));
    let provider = &providers["providers"][0];
    assert_eq!(
        (&provider["type"], &providers["apiVersion"]),
        (&"file".into(), &1.into())
    );
    let path = provider["options"]["path"].as_str().unwrap();
    let mounted: BTreeSet<(&str, &str)> = mounts(grafana).into_iter().collect();
    let dashboard = format!("{path}/counterd.json");
    let wanted = [
        ("deploy/grafana/counterd.json", dashboard.as_str()),
        ("deploy/grafana/provisioning", "/etc/grafana/provisioning"),
    ];
    assert_eq!(mounted, BTreeSet::from(wanted));
    assert_eq!(
        grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"],
        dashboard
    );
    // Its password is one that is made, and stands in no environment.
    let home = tempfile::tempdir().unwrap();
    let made = secrets(&home.path().join("secrets"));
    for secret in texts(&grafana["secrets"]) {
        assert!(made.contains_key(secret), "{secret}");
    }
    assert_eq!(
        grafana["environment"]["GF_SECURITY_ADMIN_PASSWORD__FILE"],
        "/run/secrets/grafana_password"
    );
}
