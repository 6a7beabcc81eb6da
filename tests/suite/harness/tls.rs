//! Keys and certificates of the test's own.

use std::path::Path;
use std::process::Command;

/// Makes `server.key` and `server.pem` for 127.0.0.1, and `root.pem`, which vouches for it.
pub fn certificates(dir: &Path) {
    let openssl = |words: &str| {
        let ran = Command::new("openssl")
            .args(words.split(' '))
            .current_dir(dir)
            .output()
            .unwrap();
        assert!(
            ran.status.success(),
            "{}",
            String::from_utf8_lossy(&ran.stderr)
        );
    };
    let new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    openssl(&format!(
        "{new} -keyout root.key -out root.pem -subj /CN=root-of-tests"
    ));
    openssl(&format!(
        "{new} -keyout server.key -out server.pem -subj /CN=server-of-tests -CA root.pem -CAkey root.key \
         -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE"
    ));
}
