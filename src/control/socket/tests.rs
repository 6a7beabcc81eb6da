use super::*;
use crate::calendar::{Calendar, DayStart};
use crate::clock::SystemClock;
use crate::control::CopyOptions;
use crate::metrics::Metrics;
use crate::storage::StorageOptions;
use crate::writer::{Running, WriterOptions};

fn desk(dir: &Path) -> Desk {
    let storage = StorageOptions {
        data_dir: dir.to_owned(),
        memory: 16 << 20,
        reserve: None,
        shared: None,
    };
    let calendar = Calendar::new("UTC", DayStart::default()).unwrap();
    let options = WriterOptions::new(storage, Arc::new(SystemClock), calendar);
    let metrics = Arc::new(Metrics::new());
    let running = Running::new(&options);
    Desk::new(&running, &metrics, CopyOptions::default())
}

fn is_answered(dir: &Path) -> bool {
    let asked = Ask::Mode {
        read_only: None,
        accept_clock: false,
    };
    let told = ask(dir, &asked, &mut |_| Ok(())).unwrap();
    told.is_some_and(|told| told.is_ok())
}

#[test]
fn one_that_ends_leaves_another_in_its_place_alone() {
    let dir = tempfile::tempdir().unwrap();
    let first = ControlSocket::listen(dir.path(), desk(dir.path())).unwrap();
    let second = ControlSocket::listen(dir.path(), desk(dir.path())).unwrap();
    first.end();
    assert!(is_answered(dir.path()));
    second.end();
    assert!(!is_answered(dir.path()));
    assert!(!dir.path().join(FILE_NAME).exists());
}

#[test]
fn one_ends_also_where_its_directory_is_another_by_now() {
    let dir = tempfile::tempdir().unwrap();
    let (data, away) = (dir.path().join("data"), dir.path().join("away"));
    std::fs::create_dir(&data).unwrap();
    let first = ControlSocket::listen(&data, desk(&data)).unwrap();
    std::fs::rename(&data, &away).unwrap();
    std::fs::create_dir(&data).unwrap();
    let second = ControlSocket::listen(&data, desk(&data)).unwrap();
    assert!(is_answered(&away));
    first.end();
    assert!(!is_answered(&away));
    assert!(is_answered(&data));
    second.end();
}

#[test]
fn an_answer_in_other_words_is_told_to_be_of_another_version() {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join(FILE_NAME)).unwrap();
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        (&stream)
            .write_all(b"{\"end\":{\"answer\":\"refused\"}}\n")
            .unwrap();
    });
    let error = ask(dir.path(), &Ask::Corrupt, &mut |_| Ok(())).unwrap_err();
    assert!(error.to_string().contains("another version"), "{error}");
    server.join().unwrap();
}
