use std::collections::BTreeMap;

use axum::{Router, extract::State, response::IntoResponse};
use serde_json::{Value, json};

use super::*;
use crate::provider::outbound::OutboundOptions;

type Pages = BTreeMap<String, (StatusCode, String)>;
type Outcome = Result<(), Box<dyn std::error::Error>>;

async fn page(State(pages): State<Pages>, request: axum::extract::Request) -> impl IntoResponse {
    pages.get(request.uri().path()).cloned().unwrap_or((StatusCode::NOT_FOUND, "<html>".to_owned()))
}

/// Serves what `pages` makes of the server's own address, and discovers the issuer at `path`.
async fn found(
    path: &str,
    pages: impl FnOnce(&str) -> Vec<(&'static str, StatusCode, Value)>,
) -> Result<Result<ServerMetadata, DiscoveryError>, Box<dyn std::error::Error>> {
    // Fails where another test was first, which is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let base = format!("http://{}", listener.local_addr()?);
    let pages: Pages =
        pages(&base).into_iter().map(|(path, status, body)| (path.to_owned(), (status, body.to_string()))).collect();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(page).with_state(pages)).await });
    let outbound =
        Outbound::new(OutboundOptions { insecure_hosts: vec!["127.0.0.1".to_owned()], ..OutboundOptions::default() })?;
    Ok(discover(&outbound, &Url::parse(&format!("{base}{path}"))?, Arc::new([])).await)
}

fn document(base: &str, path: &str) -> Value {
    json!({
        "issuer": format!("{base}{path}"), "authorization_endpoint": "https://as.example/authorize", "token_endpoint": "https://as.example/token",
        "revocation_endpoint": "https://as.example/revoke", "authorization_response_iss_parameter_supported": true,
        "code_challenge_methods_supported": ["S256"], "unknown": {"a": 1},
    })
}

#[tokio::test]
async fn the_path_goes_behind_the_well_known_part() -> Outcome {
    let metadata = found("/tenant1", |base| {
        vec![("/.well-known/oauth-authorization-server/tenant1", StatusCode::OK, document(base, "/tenant1"))]
    })
    .await??;
    assert_eq!(metadata.token_endpoint.as_ref().map(Url::as_str), Some("https://as.example/token"));
    assert_eq!(metadata.introspection_endpoint, None);
    assert!(metadata.authorization_response_iss_parameter_supported);
    assert_eq!(metadata.code_challenge_methods_supported, ["S256"]);
    assert_eq!(metadata.token_endpoint_auth_methods_supported, ["client_secret_basic"]);
    Ok(())
}

#[tokio::test]
async fn openid_configuration_comes_second() -> Outcome {
    let metadata = found("/tenant1", |base| {
        vec![("/tenant1/.well-known/openid-configuration", StatusCode::OK, document(base, "/tenant1"))]
    })
    .await??;
    assert!(metadata.issuer.ends_with("/tenant1"));
    let metadata =
        found("/", |base| vec![("/.well-known/openid-configuration", StatusCode::OK, document(base, ""))]).await??;
    assert!(!metadata.issuer.ends_with('/'));
    Ok(())
}

#[tokio::test]
async fn the_issuer_must_be_the_same() -> Outcome {
    for named in ["/Tenant1", "/tenant1/", "", "/tenant2"] {
        let outcome = found("/tenant1", |base| {
            vec![("/.well-known/oauth-authorization-server/tenant1", StatusCode::OK, document(base, named))]
        })
        .await?;
        assert!(matches!(outcome, Err(DiscoveryError::OtherIssuer { .. })), "{named}");
    }
    Ok(())
}

#[tokio::test]
async fn endpoints_inside_are_refused() -> Outcome {
    for (endpoint, url) in [
        ("token_endpoint", "https://169.254.169.254/"),
        ("userinfo_endpoint", "http://as.example/"),
        ("revocation_endpoint", "https://u@as.example/"),
    ] {
        let outcome = found("/a", |base| {
            let mut document = document(base, "/a");
            document[endpoint] = json!(url);
            vec![("/.well-known/oauth-authorization-server/a", StatusCode::OK, document)]
        });
        assert!(
            matches!(outcome.await?, Err(DiscoveryError::EndpointForbidden { endpoint: named, .. }) if named == endpoint),
            "{endpoint}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn troubles_are_told_apart() -> Outcome {
    let path = "/.well-known/oauth-authorization-server/a";
    assert!(matches!(found("/a", |_| vec![]).await?, Err(DiscoveryError::NotPublished)));
    assert!(matches!(
        found("/a", |_| vec![(path, StatusCode::OK, json!("a page"))]).await?,
        Err(DiscoveryError::NotPublished)
    ));
    assert!(matches!(found("/a?b", |_| vec![]).await?, Err(DiscoveryError::Issuer)));
    for status in [StatusCode::BAD_GATEWAY, StatusCode::TOO_MANY_REQUESTS] {
        assert!(matches!(
            found("/a", |_| vec![(path, status, json!({}))]).await?,
            Err(DiscoveryError::Unavailable { .. })
        ));
    }
    assert!(matches!(
        found("/a", |_| vec![(path, StatusCode::OK, json!({"issuer": 1}))]).await?,
        Err(DiscoveryError::Read { .. })
    ));
    let redirect = found("/a", |_| vec![(path, StatusCode::FOUND, json!({}))]).await?;
    assert!(matches!(redirect, Err(DiscoveryError::NotPublished)));
    Ok(())
}
