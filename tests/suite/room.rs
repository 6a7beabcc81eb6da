//! What a file system may lack besides bytes: inodes, long files, space put aside, sockets. Each is named.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde_json::json;

use crate::harness::{PATIENCE, Setup, SmallDisk, can_trace, eventually, skipped};

const INCREMENT: &str = "/api/v1/counter/total_games_played/increment";

#[test]
fn used_up_inodes_are_told_as_such_and_writes_come_back() {
    let test = "used_up_inodes_are_told_as_such_and_writes_come_back";
    let disk = match SmallDisk::made_by(&["mkfs.ext4", "-q", "-m", "0", "-F", "-N", "256"], 200) {
        Ok(disk) => disk,
        Err(reason) => return skipped(test, &reason),
    };
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path()).data_dir(&disk.path().join("data"));
    let server = setup.start();
    let mut client = server.client();
    client.post(INCREMENT, &json!({})).ok();
    let files = disk.path().join("files");
    fs::create_dir(&files).unwrap();
    let mut made = 0;
    while rustix::fs::statvfs(disk.path()).unwrap().f_favail > 20 {
        fs::File::create(files.join(made.to_string())).unwrap();
        made += 1;
    }
    eventually("writes are refused", PATIENCE, || {
        let refused = client.get("/readyz?writes&verbose");
        (refused.status == 503 && refused.json()["cause"] == "space").then_some(())
    });
    eventually("it is logged", PATIENCE, || {
        server.output().contains("no inodes left").then_some(())
    });
    client.get("/api/v1/counter/total_games_played").ok();
    let check = setup.command("check").output().unwrap();
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(said.contains("no inodes are left"), "{said}");
    fs::remove_dir_all(&files).unwrap();
    eventually("writes come back", PATIENCE, || {
        (client.get("/readyz?writes").status == 200).then_some(())
    });
    client.post(INCREMENT, &json!({})).ok();
    assert_eq!(client.value("total_games_played"), 2);
    server.stop();
}

#[test]
fn a_limit_on_the_size_of_files_ends_no_process_and_is_named() {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path());
    setup.start().stop();
    fs::remove_file(setup.data().join("reserve")).unwrap();
    let limited = setup.clone().under(&["prlimit", "--fsize=8388608"]);
    let server = limited.start();
    let refused = server.client().post(INCREMENT, &json!({}));
    assert_eq!(refused.status, 503, "{}", refused.text());
    let said = server.output();
    assert!(
        said.contains("files may have at most so many bytes"),
        "{said}"
    );
    assert!(said.contains("a limit on the size of a file"), "{said}");
    server.stop();
    let server = setup.start();
    server.client().post(INCREMENT, &json!({})).ok();
    server.stop();
}

/// A server of which one kind of call fails, as on a file system that lacks it.
fn lacking(setup: &Setup, call: &str, path: Option<&Path>) -> Setup {
    let mut wrapper = ["strace", "-D", "-f", "-qq", "-o", "/dev/null"]
        .map(str::to_owned)
        .to_vec();
    wrapper.push(format!("--inject={call}"));
    wrapper.extend(path.map(|path| format!("--trace-path={}", path.display())));
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    setup.clone().under(&wrapper)
}

#[test]
fn without_fallocate_the_reserve_is_written() {
    if let Err(reason) = can_trace() {
        return skipped("without_fallocate_the_reserve_is_written", &reason);
    }
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path());
    let reserve = setup.data().join("reserve");
    let fault = "fallocate:error=EOPNOTSUPP";
    let server = lacking(&setup, fault, Some(&reserve)).start();
    server.client().post(INCREMENT, &json!({})).ok();
    let made = fs::metadata(&reserve).unwrap();
    assert!(made.blocks() * 512 >= made.len() && made.len() >= 24 << 20);
    let bytes = fs::read(&reserve).unwrap();
    let zeros = bytes.iter().filter(|&&byte| byte == 0).count();
    assert!(zeros < bytes.len() / 100, "what compresses holds no space");
    server.stop();
}

#[test]
fn a_file_system_without_sockets_is_named() {
    if let Err(reason) = can_trace() {
        return skipped("a_file_system_without_sockets_is_named", &reason);
    }
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path());
    // The first is the address's; of the same thread the second is the control socket's.
    let mut server = lacking(&setup, "bind:error=EPERM:when=2", None).spawn();
    let status = server.wait_exit(PATIENCE);
    let said = server.output();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(
        said.contains("a file system such as vfat has no sockets"),
        "{said}"
    );
}

#[test]
fn vfat_is_refused_by_check_and_by_a_start() {
    let disk = match SmallDisk::made_by(&["mkfs.vfat"], 200) {
        Ok(disk) => disk,
        Err(reason) => return skipped("vfat_is_refused_by_check_and_by_a_start", &reason),
    };
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path()).data_dir(&disk.path().join("data"));
    let check = setup.command("check").output().unwrap();
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(
        said.contains("is on vfat, which has no Unix sockets"),
        "{said}"
    );
    let mut server = setup.spawn();
    assert_eq!(server.wait_exit(PATIENCE).code(), Some(1));
    assert!(
        server.output().contains("vfat has no sockets"),
        "{}",
        server.output()
    );
}
