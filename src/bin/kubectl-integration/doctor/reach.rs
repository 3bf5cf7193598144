//! Whether the public address leads to the operator, as browsers and apps see it.
//!
//! `…/start` without a ticket is asked for: it changes nothing, says 410, and carries the headers that only the
//! operator's answers have. It lies beside the callback, and an Ingress that leads one of them leads both.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use url::Url;

use super::check::Check;
use super::clocks::Reading;
use crate::words::chain;

const TIMEOUT: Duration = Duration::from_secs(15);
/// Headers that the operator puts on every answer.
const GUARDS: [(&str, &str); 3] =
    [("referrer-policy", "no-referrer"), ("x-content-type-options", "nosniff"), ("x-frame-options", "DENY")];
/// Where the operator's public paths begin.
const PUBLIC: &str = "/api/public/";

/// Asks the address beside a callback. Gives the clock of whoever answered, too.
pub(crate) async fn check(callback: &Url) -> (Check, Option<Reading>) {
    let name = "public address";
    let Ok(start) = callback.join("start") else {
        return (Check::skipped(name, format!("{callback} is no address")), None);
    };
    let asked = Timestamp::now();
    match visit(&start).await {
        Err(error) => (unreachable(&start, error), None),
        Ok((status, headers)) => (judge(&start, status, &headers), Reading::of(&headers, asked)),
    }
}

/// What identifies an address among those of several providers: all before the public paths.
pub(crate) fn base(callback: &Url) -> String {
    callback.as_str().split_once(PUBLIC).map_or_else(|| callback.to_string(), |(base, _)| base.to_owned())
}

async fn visit(start: &Url) -> Result<(StatusCode, HeaderMap), reqwest::Error> {
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT)
        .user_agent(concat!("kubectl-integration/", env!("CARGO_PKG_VERSION")))
        .build()?;
    let answer = client.get(start.clone()).header(header::ACCEPT, "text/html").send().await?;
    Ok((answer.status(), answer.headers().clone()))
}

fn judge(start: &Url, status: StatusCode, headers: &HeaderMap) -> Check {
    let (name, code) = ("public address", status.as_u16());
    let text = |header: header::HeaderName| headers.get(header).and_then(|value| value.to_str().ok());
    let ours = GUARDS.iter().all(|(guard, value)| headers.get(*guard).is_some_and(|found| found == value));
    let edge = "see the Ingress or HTTPRoute, and the proxies before it: the public paths must reach the operator's \
                Service as they are";
    if status.is_redirection() {
        let to = text(header::LOCATION).unwrap_or("nowhere");
        let says = format!("{start} is redirected to {to} (HTTP {code}); apps and links need it as it is");
        return Check::failed(name, says, edge);
    }
    match status {
        StatusCode::GONE | StatusCode::TOO_MANY_REQUESTS if ours => {
            let tls = if start.scheme() == "https" { ", with a certificate that is trusted here" } else { "" };
            Check::ok(name, format!("{} leads to the operator{tls}", base(start)))
        }
        _ if ours => {
            let says = format!("the operator answers at {start}, but with HTTP {code}");
            Check::failed(name, says, format!("{edge}; the operator's log says more"))
        }
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            let says = format!("{} is answered by an edge that does not reach the operator (HTTP {code})", base(start));
            Check::failed(name, says, "see whether its Pods are ready, and whether the Service selects them")
        }
        _ => {
            let who = text(header::SERVER).map_or_else(String::new, |server| format!(" ({server})"));
            let says = format!("somebody else{who} answers at {start}, with HTTP {code}");
            Check::failed(name, says, edge)
        }
    }
}

fn unreachable(start: &Url, error: reqwest::Error) -> Check {
    let name = "public address";
    let why = chain(&error.without_url());
    let says = format!("{} cannot be reached from here: {why}", base(start));
    if why.contains("certificate") {
        return Check::failed(
            name,
            says,
            "have the Ingress serve a certificate for this name that browsers trust; see its issuer and dates with\n\
             openssl s_client -connect HOST:443 -servername HOST",
        );
    }
    let loopback = integration_operator::config::is_loopback(start);
    let to_do = if loopback {
        "it is an address of one machine alone: see whether the operator runs there, and set --public-url for others"
    } else {
        "see whether the name resolves to the Ingress, and whether the operator runs; browsers need this address, this \
         machine may be shut off from it"
    };
    Check::failed(name, says, to_do)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Verdict;

    fn start() -> Url {
        Url::parse("https://connect.example.com/api/public/integrations/slack/start").unwrap()
    }

    fn guards(more: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = GUARDS.iter().copied().chain(more.iter().copied());
        pairs.map(|(name, value)| (header::HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn the_operators_own_answer_is_known_by_its_headers() {
        let check = judge(&start(), StatusCode::GONE, &guards(&[]));
        assert_eq!(check.verdict, Verdict::Ok, "{check:?}");
        let nginx: HeaderMap = [(header::SERVER, "nginx".parse().unwrap())].into_iter().collect();
        for (status, headers, says) in [
            (StatusCode::GONE, HeaderMap::new(), "somebody else answers"),
            (StatusCode::NOT_FOUND, nginx.clone(), "somebody else (nginx) answers"),
            (StatusCode::BAD_GATEWAY, nginx, "does not reach the operator (HTTP 502)"),
            (StatusCode::NOT_FOUND, guards(&[]), "the operator answers at"),
            (StatusCode::FOUND, guards(&[("location", "https://login.example.com/")]), "redirected to https://login"),
        ] {
            let check = judge(&start(), status, &headers);
            assert_eq!(check.verdict, Verdict::Failed);
            assert!(check.says.contains(says), "{check:?}");
        }
    }

    #[test]
    fn the_base_is_what_providers_share() {
        let tenants = Url::parse("https://a.example/base/api/public/tenants/acme/integrations/x/callback").unwrap();
        assert_eq!(base(&tenants), "https://a.example/base");
    }

    #[tokio::test]
    async fn nobody_there() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let url = Url::parse(&format!("http://127.0.0.1:{port}/api/public/integrations/x/callback")).unwrap();
        let (check, clock) = check(&url).await;
        assert_eq!(check.verdict, Verdict::Failed);
        assert!(check.says.contains("cannot be reached") && clock.is_none(), "{check:?}");
    }

    #[tokio::test]
    async fn a_certificate_that_nobody_trusts() {
        use tokio_rustls::rustls::ServerConfig;
        use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

        let _ = rustls::crypto::ring::default_provider().install_default();
        let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
        let chain = vec![certified.cert.der().clone()];
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key.into()).unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let _ = acceptor.accept(connection).await;
            }
        });
        let url = Url::parse(&format!("https://127.0.0.1:{port}/api/public/integrations/x/callback")).unwrap();
        let (check, _) = check(&url).await;
        assert_eq!(check.verdict, Verdict::Failed);
        assert!(check.to_do.as_deref().is_some_and(|to_do| to_do.contains("openssl s_client")), "{check:?}");
    }
}
