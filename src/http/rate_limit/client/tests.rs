//! Headers as proxies, and strangers who would pass for another, send them.

use http::HeaderValue;

use super::*;

/// The proxies of every case.
const TRUSTED: [&str; 4] = ["10.0.0.0/8", "192.0.2.7", "2001:db8:ffff::/48", "::1"];

fn source() -> ClientSource {
    ClientSource {
        trusted: TRUSTED.map(|text| network(text).unwrap()).to_vec(),
        header: HeaderName::from_static("x-forwarded-for"),
    }
}

fn client(peer: &str, lines: &[Vec<u8>]) -> String {
    let mut headers = HeaderMap::new();
    for line in lines {
        let value = HeaderValue::from_bytes(line).unwrap();
        headers.append("x-forwarded-for", value);
    }
    source().client(peer.parse().unwrap(), &headers).to_string()
}

/// Peer, the lines of the header, and who the client is.
type Case = (String, Vec<Vec<u8>>, String);

/// The cases of the table, which real proxies are asked too.
fn cases() -> Vec<Case> {
    let table = include_str!("../../../../tests/client-cases.tsv");
    let rows = table.lines().filter(|line| !line.starts_with('#'));
    let case = |row: &str| {
        let [peer, header, client] = row.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{row}");
        };
        let lines = header.split("\\n").map(bytes);
        let lines = if header == "-" {
            Vec::new()
        } else {
            lines.collect()
        };
        (peer.to_owned(), lines, client.to_owned())
    };
    rows.map(case).collect()
}

/// The bytes of a line of the table.
fn bytes(line: &str) -> Vec<u8> {
    let mut parts = line.split("\\x");
    let mut bytes = parts.next().unwrap().replace("\\t", "\t").into_bytes();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend(part[2..].replace("\\t", "\t").bytes());
    }
    bytes
}

#[test]
fn the_client_is_the_first_from_the_right_that_is_not_trusted() {
    let cases = cases();
    assert!(cases.len() >= 60);
    for (peer, lines, wanted) in &cases {
        let shown: Vec<_> = lines
            .iter()
            .map(|line| String::from_utf8_lossy(line))
            .collect();
        assert_eq!(client(peer, lines), *wanted, "{peer} {shown:?}");
    }
}

#[test]
fn only_so_many_hops_and_so_long_addresses_are_looked_at() {
    let hops = |count: usize| [b"198.51.100.1".to_vec(), b",10.0.0.2".repeat(count)].concat();
    assert_eq!(client("10.0.0.1", &[hops(MAX_HOPS - 1)]), "198.51.100.1");
    assert_eq!(client("10.0.0.1", &[hops(MAX_HOPS)]), "10.0.0.2");
    let zone = |length: usize| [b"fe80::1%".to_vec(), b"z".repeat(length)].concat();
    assert_eq!(client("10.0.0.1", &[zone(MAX_ADDRESS - 8)]), "fe80::1");
    assert_eq!(client("10.0.0.1", &[zone(MAX_ADDRESS)]), "10.0.0.1");
}

#[test]
fn another_header_is_read_when_it_is_the_one() {
    let source = ClientSource {
        header: HeaderName::from_static("cf-connecting-ip"),
        ..source()
    };
    let mut headers = HeaderMap::new();
    headers.insert("x-forwarded-for", HeaderValue::from_static("203.0.113.5"));
    let peer: IpAddr = "10.0.0.1".parse().unwrap();
    assert_eq!(source.client(peer, &headers), peer);
    let named = HeaderValue::from_static("198.51.100.1");
    headers.insert("CF-Connecting-IP", named);
    assert_eq!(source.client(peer, &headers).to_string(), "198.51.100.1");
}

#[test]
fn networks_are_read_as_they_are_meant() {
    for (text, wanted) in [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.1.2.3", "10.1.2.3/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("::1", "::1/128"),
        ("::/0", "::/0"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:10.0.0.1", "10.0.0.1/32"),
    ] {
        assert_eq!(network(text).unwrap().to_string(), wanted, "{text}");
    }
    for bad in [
        "",
        "10",
        "10.0.0.0/33",
        "10.0.0.0/",
        "10.0.0.0/8 ",
        "localhost",
        "[::1]",
        "::/129",
        "*",
    ] {
        assert!(network(bad).unwrap_err().contains("10.0.0.0/8"), "{bad}");
    }
    let told = network("10.1.0.0/8").unwrap_err();
    assert!(told.ends_with("the network is 10.0.0.0/8"), "{told}");
}
