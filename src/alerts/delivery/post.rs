//! One request to a receiver: a connection of its own, within limits of time and size. No redirect is followed.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::target::{AlertUrl, Target};

/// How much of an answer is read, in bytes, and for how long. The status alone decides.
const MOST_ANSWER: usize = 64 * 1024;
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// How much of an answer is shown.
const MOST_SHOWN: usize = 200;

/// What a receiver said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// The status.
    pub status: StatusCode,
    /// How long it asks to be left alone.
    pub retry_after: Option<Duration>,
    /// The begin of its answer, for people. It shows nothing of the URL.
    pub said: String,
}

impl Posted {
    /// Whether it took what it was told.
    pub fn is_taken(&self) -> bool {
        self.status.is_success()
    }

    /// Whether it may take the same later.
    pub fn may_retry(&self) -> bool {
        self.status.is_server_error()
            || matches!(
                self.status,
                StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
            )
    }

    /// Says how the receiver did not take it.
    pub fn refusal(&self) -> String {
        format!("status {}: {}", self.status.as_u16(), self.said)
    }
}

/// Why a receiver said nothing. The words show nothing of its URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// It cannot be connected to.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The connection is not safe.
    #[error("TLS: {0}")]
    Tls(String),
    /// It did not answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
}

/// Sends requests.
pub struct Poster {
    timeout: Duration,
    tls: OnceLock<TlsConnector>,
}

impl Poster {
    /// Makes one whose requests take so long at most.
    pub fn new(timeout: Duration) -> Arc<Self> {
        Arc::new(Self {
            timeout,
            tls: OnceLock::new(),
        })
    }

    /// Sends a body of JSON.
    ///
    /// # Errors
    /// When the receiver did not answer.
    pub async fn post(
        &self,
        url: &AlertUrl,
        body: Bytes,
        signature: Option<HeaderValue>,
    ) -> Result<Posted, PostError> {
        let send = self.send(&url.target, body, signature);
        let sent = tokio::time::timeout(self.timeout, send).await;
        let sent = sent.unwrap_or(Err(PostError::Timeout(self.timeout)));
        let Answer {
            head,
            body,
            connection,
        } = sent.map_err(|error| error.hidden(url))?;
        let said = said(body).await;
        drop(connection);
        Ok(Posted {
            status: head.status,
            retry_after: retry_after(&head.headers),
            said: shown(&said, url),
        })
    }

    /// Connects, and says nothing.
    ///
    /// # Errors
    /// When the receiver cannot be reached.
    pub async fn reach(&self, url: &AlertUrl) -> Result<(), PostError> {
        let target = &url.target;
        let reach = async {
            let stream = connect(target).await?;
            if target.tls {
                self.secured(target, stream).await?;
            }
            Ok(())
        };
        let reached = tokio::time::timeout(self.timeout, reach).await;
        let reached = reached.unwrap_or(Err(PostError::Timeout(self.timeout)));
        reached.map_err(|error: PostError| error.hidden(url))
    }

    async fn send(
        &self,
        target: &Target,
        body: Bytes,
        signature: Option<HeaderValue>,
    ) -> Result<Answer, PostError> {
        let stream = connect(target).await?;
        if target.tls {
            let stream = self.secured(target, stream).await?;
            exchange(stream, target, body, signature).await
        } else {
            exchange(stream, target, body, signature).await
        }
    }

    async fn secured(
        &self,
        target: &Target,
        stream: TcpStream,
    ) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static, PostError> {
        let name = ServerName::try_from(target.host.clone());
        let name = name.map_err(|error| PostError::Tls(error.to_string()))?;
        let connector = match self.tls.get() {
            Some(connector) => connector,
            None => {
                let made = connector()?;
                self.tls.get_or_init(|| made)
            }
        };
        let secured = connector.connect(name, stream).await;
        secured.map_err(|error| PostError::Tls(error.to_string()))
    }
}

impl PostError {
    fn hidden(self, url: &AlertUrl) -> Self {
        match self {
            Self::Connect(text) => Self::Connect(url.told(text)),
            Self::Tls(text) => Self::Tls(url.told(text)),
            Self::Timeout(span) => Self::Timeout(span),
            Self::Broken(text) => Self::Broken(url.told(text)),
        }
    }
}

async fn connect(target: &Target) -> Result<TcpStream, PostError> {
    let stream = TcpStream::connect((target.host.as_str(), target.port)).await;
    stream.map_err(|error| PostError::Connect(error.to_string()))
}

/// Makes what TLS connections begin with: the machine's roots of trust.
fn connector() -> Result<TlsConnector, PostError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let text =
            "the machine has no certificates to trust (on Debian: the package ca-certificates)";
        return Err(PostError::Tls(text.to_owned()));
    }
    let provider = Arc::new(ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| PostError::Tls(error.to_string()))?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    target: &Target,
    body: Bytes,
    signature: Option<HeaderValue>,
) -> Result<Answer, PostError> {
    let broken = |error: &dyn std::fmt::Display| PostError::Broken(error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    // Ended with the request, whatever becomes of that.
    let connection = Driven(tokio::spawn(async move {
        // What is wrong with it is told by the request.
        let _ = connection.await;
    }));
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = target.path.parse().map_err(|error| broken(&error))?;
    let headers = request.headers_mut();
    headers.insert(HOST, target.authority.clone());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let agent = concat!("counterd/", env!("CARGO_PKG_VERSION"));
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    if let Some(authorization) = &target.authorization {
        headers.insert(AUTHORIZATION, authorization.clone());
    }
    if let Some(signature) = signature {
        headers.insert("x-counterd-signature", signature);
    }
    let answer = sender.send_request(request).await;
    let (head, body) = answer.map_err(|error| broken(&error))?.into_parts();
    Ok(Answer {
        head,
        body,
        connection,
    })
}

/// An answer whose body was not read yet.
struct Answer {
    head: Parts,
    body: Incoming,
    connection: Driven,
}

/// Reads the begin of an answer. What does not fit, breaks off or takes long is not needed.
async fn said(mut body: Incoming) -> Vec<u8> {
    let mut said = Vec::new();
    let read = async {
        while let Some(Ok(frame)) = body.frame().await {
            let data = frame.into_data().unwrap_or_default();
            let room = MOST_ANSWER.saturating_sub(said.len());
            said.extend(data.iter().take(room));
            if data.len() >= room {
                return;
            }
        }
    };
    // What came in time is shown.
    let _ = tokio::time::timeout(ANSWER_WITHIN, read).await;
    said
}

/// A task that ends with its owner.
struct Driven(tokio::task::JoinHandle<()>);

impl Drop for Driven {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Reads how long the receiver asks to be left alone; `None` where it does not say so in seconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

/// Returns the begin of an answer in one line, without anything of the URL: a secret is hidden before it can be cut.
fn shown(body: &[u8], url: &AlertUrl) -> String {
    let text = String::from_utf8_lossy(body);
    let words: Vec<&str> = text.split_whitespace().collect();
    let line: String = words
        .join(" ")
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    url.told(line).chars().take(MOST_SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_of_an_answer_is_hidden_before_it_is_cut() {
        let url = AlertUrl::parse("https://h/services/geheimnis?token=ebenso", "").unwrap();
        let answer = format!("{} no\n/geheimnis, ebenso", "x".repeat(MOST_SHOWN - 9));
        let wanted = format!("{} no /(sec", "x".repeat(MOST_SHOWN - 9));
        assert_eq!(shown(answer.as_bytes(), &url), wanted);
        assert_eq!(shown(b"ebenso\x07\tto", &url), "(secret) to");
    }
}
