//! That the table says of itself what holds, and that what is made of it is up to date.

pub(in crate::http) mod conform;
mod examples;
mod files;
mod openapi;
mod page;
mod tables;

use super::refusals::NO_CALL;
use super::*;

#[test]
fn each_label_has_its_call_and_each_call_its_own() {
    for route in Route::ALL {
        let with = calls().filter(|endpoint| endpoint.route == route);
        let wanted = usize::from(route != Route::Unmatched);
        assert_eq!(with.count(), wanted, "{}", route.as_str());
    }
}

#[test]
fn each_code_is_one_that_some_call_answers() {
    let known: Vec<Code> = calls().flat_map(Endpoint::codes).collect();
    for code in Code::ALL {
        assert!(
            known.contains(code) || NO_CALL.contains(code),
            "{}: no call answers it",
            code.as_str()
        );
    }
}

#[test]
fn a_call_without_a_body_has_no_fields() {
    for endpoint in calls() {
        let bodiless = endpoint.limit == Limit::NoBody;
        assert_eq!(endpoint.fields().is_empty(), bodiless, "{}", endpoint.path);
    }
}

#[test]
fn a_call_that_changes_something_counts_as_a_write() {
    for endpoint in calls() {
        let is_write = endpoint.rate == RateClass::Writes;
        assert_eq!(
            is_write,
            endpoint.method != Method::GET,
            "{}",
            endpoint.path
        );
        assert!(is_write || !endpoint.changes(), "{}", endpoint.path);
    }
}

#[test]
fn what_is_served_ahead_of_the_router_is_in_the_table() {
    for action in Action::ALL {
        let endpoint = call_of(action);
        let path = endpoint.path.replace("{name}", "a");
        let ahead = crate::http::head::action(&endpoint.method, &path);
        assert_eq!(ahead, Some((action, "a")), "{path}");
        assert!(
            calls().any(|listed| std::ptr::eq(listed, endpoint)),
            "{path}"
        );
    }
}

#[test]
fn what_a_client_may_have_already_says_how_it_is_asked_for() {
    let document = openapi::document();
    let mut marked = Vec::new();
    for endpoint in calls() {
        let is_known = endpoint.answers.iter().any(|answer| answer.status == 304);
        let mut parameters = endpoint.parameters.iter();
        let is_asked = parameters.any(|parameter| parameter.name == "If-None-Match");
        assert_eq!(is_known, is_asked, "{}", endpoint.path);
        if is_known {
            let responses = &document["paths"][endpoint.path]["get"]["responses"];
            for status in ["200", "304"] {
                let mark = &responses[status]["headers"]["ETag"];
                assert!(mark.is_object(), "{} {status}", endpoint.path);
            }
            marked.push(endpoint.path);
        }
    }
    assert_eq!(marked, ["/openapi.json", "/docs", "/", "/page/{name}"]);
}
