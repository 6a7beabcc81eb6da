//! The manifests of Kubernetes: valid field for field, and what they run, run here as it would.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};

use super::watch::{reads_yaml, yaml};
use super::{Ends, Place, environment, may_contain, of_image, root};
use crate::harness::{
    Client, PATIENCE, checkers, compiled, eventually, run_by_node, skipped, validated_by_kubernetes,
};

const MANIFESTS: [&str; 6] = [
    "configmap.yaml",
    "networkpolicy.yaml",
    "poddisruptionbudget.yaml",
    "secret.example.yaml",
    "service.yaml",
    "statefulset.yaml",
];

fn manifest(name: &str) -> PathBuf {
    root().join("deploy/kubernetes").join(name)
}

#[test]
fn the_manifests_are_valid_field_for_field() {
    let checkers = match checkers() {
        Ok(checkers) => checkers,
        Err(reason) => return skipped("the_manifests_are_valid_field_for_field", &reason),
    };
    for name in MANIFESTS {
        let (is_valid, told) = validated_by_kubernetes(&checkers, &manifest(name));
        assert!(is_valid, "{name}: {told}");
    }
    // What is wrong is seen.
    let home = tempfile::tempdir().unwrap();
    let wrong = home.path().join("wrong.yaml");
    for (name, from, to) in [
        ("statefulset.yaml", "readinessProbe:", "readynessProbe:"),
        ("statefulset.yaml", "replicas: 1", "replicas: one"),
        (
            "statefulset.yaml",
            "  serviceName: counterd\n",
            "  serviceNames: counterd\n",
        ),
        ("service.yaml", "port: 8080", "ports: 8080"),
        ("configmap.yaml", "data:", "datas:"),
        ("networkpolicy.yaml", "podSelector:", "podSelectors:"),
        (
            "poddisruptionbudget.yaml",
            "minAvailable:",
            "minAvailables:",
        ),
        ("secret.example.yaml", "stringData:", "strings:"),
    ] {
        let text = fs::read_to_string(manifest(name)).unwrap();
        assert!(text.contains(from), "{from}");
        fs::write(&wrong, text.replacen(from, to, 1)).unwrap();
        let (is_valid, _) = validated_by_kubernetes(&checkers, &wrong);
        assert!(!is_valid, "{to} is not seen");
    }
}

/// By the types and the schema that are made of the operator's own definitions.
#[test]
fn the_service_monitor_is_one_of_the_operator_s() {
    let checkers = match checkers().and_then(|checkers| reads_yaml().map(|()| checkers)) {
        Ok(checkers) => checkers,
        Err(reason) => return skipped("the_service_monitor_is_one_of_the_operator_s", &reason),
    };
    const PACKAGE: &str = "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";
    let fits = |monitor: &Value| {
        let typed = format!(
            "import type {{ IServiceMonitor }} from '{PACKAGE}';\n\
             export const monitor: IServiceMonitor = {monitor};\n"
        );
        let module = format!(
            "import {{ ServiceMonitor }} from '{PACKAGE}';\nnew ServiceMonitor({monitor}).validate();\n"
        );
        let typed = compiled(&checkers, &typed);
        let ran = run_by_node(&checkers, &module);
        let told = String::from_utf8_lossy(&ran.stderr).into_owned();
        match (typed.as_str(), ran.status.success()) {
            ("", true) => Ok(()),
            _ => Err(typed + &told),
        }
    };
    let monitor = yaml(&manifest("servicemonitor.yaml"));
    assert_eq!(fits(&monitor), Ok(()));
    for (pointer, wrong) in [
        (
            "/spec/endpoints/0",
            json!({"port": "http", "paths": "/metrics"}),
        ),
        ("/spec/endpoints/0/interval", json!("15 seconds")),
        ("/spec/selector", json!(null)),
    ] {
        let mut broken = monitor.clone();
        *broken.pointer_mut(pointer).unwrap() = wrong;
        assert!(fits(&broken).is_err(), "{pointer} is not seen");
    }
    // It finds the service, whose name is that of the job in the rules.
    let service = yaml(&manifest("service.yaml"));
    assert_eq!(
        monitor["spec"]["selector"]["matchLabels"],
        service["metadata"]["labels"]
    );
    assert_eq!(
        monitor["spec"]["endpoints"][0]["port"],
        service["spec"]["ports"][0]["name"]
    );
    assert_eq!(service["metadata"]["name"], "counterd");
}

/// What no schema says: the parts name each other, and the image.
#[test]
fn the_manifests_fit_together_and_the_image() {
    if let Err(reason) = reads_yaml() {
        return skipped("the_manifests_fit_together_and_the_image", &reason);
    }
    let set = yaml(&manifest("statefulset.yaml"));
    let service = yaml(&manifest("service.yaml"));
    let pod = &set["spec"]["template"];
    let labels = &pod["metadata"]["labels"];
    assert_eq!(&set["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(&service["spec"]["selector"], labels);
    assert_eq!(set["spec"]["serviceName"], service["metadata"]["name"]);
    assert_eq!(set["spec"]["replicas"], 1);
    let container = &pod["spec"]["containers"][0];
    let port = container["ports"][0]["containerPort"].as_u64().unwrap();
    let listen = &environment()["COUNTERD_SERVER__LISTEN"];
    assert!(listen.ends_with(&format!(":{port}")), "{listen}");
    assert_eq!(
        service["spec"]["ports"][0]["targetPort"],
        container["ports"][0]["name"]
    );
    let (uid, gid) = of_image("USER")
        .split_once(':')
        .map(|(uid, gid)| (uid.to_owned(), gid.to_owned()))
        .unwrap();
    let security = &pod["spec"]["securityContext"];
    let of = |name: &str| security[name].as_u64().unwrap().to_string();
    assert_eq!(
        (of("runAsUser"), of("runAsGroup"), of("fsGroup")),
        (uid, gid.clone(), gid)
    );
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    // Each mount has its volume; what the server writes to is a disk.
    let claims = set["spec"]["volumeClaimTemplates"].as_array().unwrap();
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    let claimed: Vec<&Value> = claims
        .iter()
        .map(|claim| &claim["metadata"]["name"])
        .collect();
    let given: Vec<&Value> = volumes.iter().map(|volume| &volume["name"]).collect();
    for mount in container["volumeMounts"].as_array().unwrap() {
        let is_read = mount["readOnly"] == true;
        let names = if is_read { &given } else { &claimed };
        assert!(names.contains(&&mount["name"]), "{mount}");
    }
    let data = &environment()["COUNTERD_STORAGE__DATA_DIR"];
    assert_eq!(&container["volumeMounts"][0]["mountPath"], data);
    for (volume, at, name) in [
        (&volumes[0], "/configMap/name", "configmap.yaml"),
        (&volumes[1], "/secret/secretName", "secret.example.yaml"),
    ] {
        let named = yaml(&manifest(name))["metadata"]["name"].clone();
        assert_eq!(volume.pointer(at), Some(&named), "{name}");
    }
    // What is applied with `-k` is there, and the secret that is none is not among it.
    let kustomization = yaml(&manifest("kustomization.yaml"));
    let resources = kustomization["resources"].as_array().unwrap();
    for resource in resources {
        assert!(manifest(resource.as_str().unwrap()).is_file(), "{resource}");
    }
    assert!(!resources.contains(&json!("secret.example.yaml")));
}

/// The container's arguments, configuration, secrets and probes, run by the entry point as the image has it.
#[test]
fn the_pod_starts_answers_its_probes_and_ends_in_time() {
    let test = "the_pod_starts_answers_its_probes_and_ends_in_time";
    if let Err(reason) = may_contain().and_then(|()| reads_yaml()) {
        return skipped(test, &reason);
    }
    let set = yaml(&manifest("statefulset.yaml"));
    let pod = &set["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let place = Place::new();
    let toml = yaml(&manifest("configmap.yaml"))["data"]["counterd.toml"].clone();
    let mut toml = toml.as_str().unwrap().to_owned();
    let secrets = yaml(&manifest("secret.example.yaml"))["stringData"].clone();
    for (name, token) in secrets.as_object().unwrap() {
        let here = place.secret(name, token.as_str().unwrap());
        let there = format!("/run/secrets/counterd/{name}");
        assert!(toml.contains(&there), "{there}");
        toml = toml.replace(&there, here.to_str().unwrap());
    }
    let config = place.secret("counterd.toml", &toml);
    let mut words = vec![super::list(&of_image("ENTRYPOINT"))[0].clone()];
    for word in container["args"].as_array().unwrap() {
        let word = word.as_str().unwrap();
        words.push(word.replace("/etc/counterd/counterd.toml", config.to_str().unwrap()));
    }
    assert!(words.contains(&config.display().to_string()), "{words:?}");
    let log = place.home.path().join("log");
    let out = fs::File::create(&log).unwrap();
    let mut server = Ends(
        place
            .command(&words, &[])
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap(),
    );
    let mut client = Client::new(([127, 0, 0, 1], place.port).into());
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let path = container[probe]["httpGet"]["path"].as_str().unwrap();
        eventually(probe, PATIENCE, || {
            let log = fs::read_to_string(&log).unwrap();
            assert!(server.0.try_wait().unwrap().is_none(), "{log}");
            let answer = client.request("GET", path, &[], b"").ok()?;
            (answer.status == 200).then_some(())
        });
    }
    let path = "/api/v1/counter/c/increment";
    client.post(path, &json!({})).refused(401, "unauthorized");
    let token = secrets["write_token"].as_str().unwrap();
    client.with_token(token).post(path, &json!({})).ok();
    // The configuration's times fit into the one that Kubernetes grants.
    let shown = place.command(
        &[&words[0], "config", &words[2], &words[3]].map(ToString::to_string),
        &[],
    );
    let shown = { shown }.output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let seconds = |key: &str| -> u64 {
        let line = shown.lines().find(|line| line.starts_with(key)).unwrap();
        let (_, rest) = line.split_once('"').unwrap();
        rest.split_once("s\"").unwrap().0.parse().unwrap()
    };
    let needed = seconds("server.lame_duck") + 2 * seconds("server.drain_timeout");
    let granted = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(
        granted > needed,
        "{granted} s are granted, {needed} s may be needed"
    );
    let lines = fs::read_to_string(&log).unwrap();
    for line in lines.lines() {
        let line: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_ne!(line["level"], "ERROR", "{line}");
    }
    for secret in secrets.as_object().unwrap().values() {
        assert!(
            !lines.contains(secret.as_str().unwrap()),
            "a secret in the log"
        );
    }
    // SAFETY: kill(2) takes no pointer; the child is ours and not yet waited for.
    unsafe { libc::kill(i32::try_from(server.0.id()).unwrap(), libc::SIGTERM) };
    let ended = eventually("it ends", PATIENCE, || server.0.try_wait().unwrap());
    assert_eq!(ended.code(), Some(0), "{ended:?}");
}
