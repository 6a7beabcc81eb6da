//! Pages of what is in the database, for a server without a store: no row is left out because another
//! says nothing, and a page costs no more than its rows.

use counterd::counter::CopiedPage;
use counterd::export::postgres::{PostgresOptions, PostgresReader, PostgresUrl};

use super::{database, options, read, reader, wait};
use crate::harness::{Database, PASSWORD, PATIENCE, eventually};
use crate::house::{House, NOON, name};

fn one_page(database: &Database, prefix: &str, cursor: Option<&str>, limit: usize) -> CopiedPage {
    wait(async { reader(database).page(prefix, cursor, limit).await }).unwrap()
}

fn names(page: &CopiedPage) -> Vec<String> {
    let names = page.values.iter();
    names.map(|value| value.name.to_string()).collect()
}

/// The names of a page.
pub(super) fn page(
    database: &Database,
    prefix: &str,
    cursor: Option<&str>,
    limit: usize,
) -> Vec<String> {
    names(&one_page(database, prefix, cursor, limit))
}

#[test]
fn a_page_is_in_the_order_of_bytes_and_holds_what_can_be() {
    let Some(database) = database("a_page_is_in_the_order_of_bytes_and_holds_what_can_be") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    let all = ["p", "p-1", "p.a", "p2", "p:a", "p_b", "pa"];
    house.create(all.map(String::from));
    house.up("q", 1);
    house.exporter(options(&database)).catch_up().unwrap();
    assert_eq!(page(&database, "p", None, 100), all);
    assert_eq!(page(&database, "p", Some("p.a"), 2), ["p2", "p:a"]);
    assert_eq!(page(&database, "p", Some("a"), 1), ["p"]);
    assert_eq!(page(&database, "pa", Some("p"), 9), ["pa"]);
    assert!(page(&database, "p", Some("q"), 9).is_empty());

    // Times that no calendar has are nothing, and harm nobody else.
    database.sql(
        "UPDATE counters SET updated_at = '294000-01-01' WHERE name = 'p:a';
         UPDATE counterd_counters SET period = '5000000-01-01' WHERE counter_name = 'p_b';
         UPDATE counterd_counters SET period = '-infinity' WHERE counter_name = 'pa';
         UPDATE counterd_database SET values_as_of = 'infinity'",
    );
    assert_eq!(page(&database, "p", None, 100), all[..4]);
    assert_eq!(read(&database, "p").as_of, None);
    house.stop();
}

#[test]
fn rows_that_say_nothing_cut_no_list_short() {
    let Some(database) = database("rows_that_say_nothing_cut_no_list_short") else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    house.create((0..10).map(|number| format!("p{number}")));
    house.exporter(options(&database)).catch_up().unwrap();
    database.sql(
        "UPDATE counters SET current_value = NULL WHERE name = 'p1';
         UPDATE counters SET updated_at = 'infinity' WHERE name IN ('p2', 'p3');
         UPDATE counterd_counters SET period = '20000-01-01' WHERE counter_name = 'p9'",
    );
    let (mut listed, mut cursor, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = one_page(&database, "p", cursor.as_deref(), 2);
        listed.extend(names(&page));
        pages += 1;
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(listed, ["p0", "p4", "p5", "p6", "p7", "p8"]);
    assert_eq!(
        pages, 5,
        "ten rows, two at a time, and no page after the last"
    );
    house.stop();
}

#[test]
fn nothing_but_its_rows_is_read_though_nothing_was_analyzed() {
    let Some(database) = database("nothing_but_its_rows_is_read_though_nothing_was_analyzed")
    else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    house.exporter(options(&database)).catch_up().unwrap();
    database.sql(
        "ALTER TABLE counters SET (autovacuum_enabled = off);
         ALTER TABLE counterd_counters SET (autovacuum_enabled = off);
         INSERT INTO counters (name, current_value, updated_at)
           SELECT 'p' || n, n, '2026-11-24' FROM generate_series(10001, 30000) n;
         INSERT INTO counterd_counters (counter_name, epoch, revision, kind)
           SELECT 'p' || n, (SELECT epoch FROM counterd_database), n, 'sum'
           FROM generate_series(10001, 30000) n",
    );
    let fetched = || {
        database.number(
            "SELECT sum(seq_tup_read + idx_tup_fetch) FROM pg_stat_user_tables
             WHERE relname IN ('counters', 'counterd_counters')",
        )
    };
    for analyzed in [false, true] {
        if analyzed {
            database.sql("ANALYZE counters, counterd_counters");
        }
        let settled = |before: i64| {
            eventually("the rows that were read are told", PATIENCE, || {
                let now = fetched();
                (now >= before + 800 && now == fetched()).then_some(now)
            })
        };
        let before = fetched();
        wait(async {
            let mut reader = reader(&database);
            for page in 0..3 {
                let cursor = format!("p{}", 15000 + page * 100);
                let page = reader.page("", Some(&cursor), 100).await.unwrap();
                assert_eq!(page.values.len(), 100);
            }
            let asked: Vec<_> = (20000..20100)
                .map(|number| name(&format!("p{number}")))
                .collect();
            let exported = reader.values(&asked).await.unwrap();
            assert_eq!(exported.values.iter().flatten().count(), 100);
            // The database tells what was read once the connection has ended.
            reader.rest().await;
        });
        let rows = settled(before) - before;
        assert!(
            rows < 2000,
            "{rows} rows for three pages of 100 and 100 values, {analyzed}"
        );
    }
    house.stop();
}

#[test]
fn a_name_in_no_encoding_is_left_out() {
    let Some(database) = database("a_name_in_no_encoding_is_left_out") else {
        return;
    };
    database.sql(
        "CREATE DATABASE bytes ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'",
    );
    let url = database.url_as("postgres", PASSWORD, "bytes");
    let options = PostgresOptions {
        url: PostgresUrl::parse(&url).unwrap(),
        ..options(&database)
    };
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path(), NOON);
    house.create(["p1", "p2"].map(String::from));
    house.exporter(options.clone()).catch_up().unwrap();
    let rows = "INSERT INTO counters (name, current_value) VALUES (E'p1\\xff', 1);
         INSERT INTO counterd_counters (counter_name, epoch, revision)
           SELECT E'p1\\xff', epoch, 1 FROM counterd_database";
    database.sql_at(&url, rows).unwrap();
    let timeout = options.timeout;
    let page = wait(async {
        let mut reader = PostgresReader::new(options, timeout);
        reader.page("p", None, 9).await
    });
    assert_eq!(names(&page.unwrap()), ["p1", "p2"]);
    house.stop();
}
