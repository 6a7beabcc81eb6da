//! The yardstick of `script/bench`: a server that does nothing but answer.
//!
//! `axum::serve` on tokio's default multi-threaded runtime, one route, a constant answer whose body
//! has the size of a real one. What counterd reaches of its rate is what counting durably costs.

use std::net::SocketAddr;

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::{get, post};

const ANSWER: &str = r#"{"success":true,"current_value":1234567,"counted":true,"applied":1,"revision":1234567,"period":"2026-11-24"}"#;

async fn increment() -> impl IntoResponse {
    (
        [
            (CONTENT_TYPE, "application/json"),
            (CACHE_CONTROL, "no-store"),
        ],
        ANSWER,
    )
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let listen: SocketAddr = match std::env::args().nth(1) {
        Some(address) => address.parse()?,
        None => SocketAddr::from(([127, 0, 0, 1], 8079)),
    };
    let router = Router::new()
        .route("/api/v1/counter/{name}/increment", post(increment))
        .route("/livez", get(async || "ok"));
    let listener = tokio::net::TcpListener::bind(listen).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, router).await?;
    Ok(())
}
