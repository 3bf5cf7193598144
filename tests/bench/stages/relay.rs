//! What it costs to have the operator in between: a call through the proxy beside the same call made directly, and a webhook
//! that is verified and handed on beside the receiver's own handler. One run, the same client, the same handler.

use std::time::Instant;

use futures::StreamExt as _;
use futures::stream::iter;
use integration_operator::digest::hex;
use kube::api::{Patch, PatchParams};
use reqwest::RequestBuilder;
use ring::hmac;
use serde_json::json;

use crate::field::Field;
use crate::meter::{cpu, percentile};
use crate::servers;
use crate::setting;
use crate::world::rule;

/// Bytes of a body.
const BODY: usize = 1024;
const SECRET: &str = "signing-secret-of-the-bench";

/// What a series of requests took.
struct Series {
    /// Milliseconds of each, sorted.
    each: Vec<f64>,
    per_second: f64,
    /// CPU of the operator, in milliseconds for each request.
    operator: f64,
}

/// Sends `RELAYED` (2000) requests, so many at once.
async fn series(field: &Field, at_once: usize, request: impl Fn(usize) -> RequestBuilder) -> Series {
    let count = setting("RELAYED", 2000) as usize;
    let process = field.operator().process_id();
    let send = |number: usize| {
        let request = request(number);
        async move {
            let began = Instant::now();
            let answer = request.send().await.unwrap();
            let status = answer.status();
            let text = answer.text().await.unwrap();
            assert_eq!(status, 200, "{text}");
            began.elapsed().as_secs_f64() * 1000.0
        }
    };
    // Connections and caches are not what is measured.
    iter(0..64).map(&send).buffer_unordered(at_once).collect::<Vec<_>>().await;
    let (began, before) = (Instant::now(), cpu(process));
    let mut each: Vec<f64> = iter(64..count + 64).map(send).buffer_unordered(at_once).collect().await;
    let took = began.elapsed().as_secs_f64();
    let operator = (cpu(process) - before) * 1000.0 / count as f64;
    each.sort_by(f64::total_cmp);
    Series { each, per_second: count as f64 / took, operator }
}

fn compare(what: &str, at_once: usize, plain: &Series, relayed: &Series) {
    let [(plain50, plain99), (relayed50, relayed99)] =
        [plain, relayed].map(|series| (percentile(&series.each, 0.5), percentile(&series.each, 0.99)));
    println!("  {what}, {at_once} at once");
    println!(
        "    without the operator       p50 {plain50:.2} ms, p99 {plain99:.2} ms, {:.0} a second",
        plain.per_second
    );
    println!(
        "    with it                    p50 {relayed50:.2} ms, p99 {relayed99:.2} ms, {:.0} a second; operator CPU {:.2} ms each",
        relayed.per_second, relayed.operator
    );
    println!(
        "    ratio                      p50 {:.1}, p99 {:.1}; added p50 {:.2} ms",
        relayed50 / plain50,
        relayed99 / plain99,
        relayed50 - plain50
    );
}

pub async fn measure(field: &mut Field) {
    println!("\nrelay: bodies of {BODY} bytes");
    let http = &servers::http_client();
    let token = &field.world.caller("model", "relay", &[rule(&["create"], &["projectintegrations/proxy"])]).await;
    let (upstream, public) = (&field.upstream, &field.world.public_url);
    let body = "x".repeat(BODY);
    let path = "/v1/tenants/model/projects/model/integrations/app/proxy/echo";
    for at_once in [1, 16] {
        let plain = series(field, at_once, |_| http.post(format!("{upstream}/echo")).body(body.clone())).await;
        let by_proxy = |_| http.post(format!("{public}{path}")).bearer_auth(token).body(body.clone());
        let relayed = series(field, at_once, by_proxy).await;
        compare("proxy", at_once, &plain, &relayed);
    }

    field.world.client_secret("model", "hooks", "unused", SECRET, true).await;
    let spec = json!({ "spec": {
        "webhook": { "signingSecretRefs": [{ "name": "hooks", "key": "client_secret" }] },
        "events": { "sink": { "uri": format!("{upstream}/echo") } },
    } });
    let api = field.world.integrations("model");
    api.patch("model.app", &PatchParams::default(), &Patch::Merge(&spec)).await.unwrap();
    field.quiet().await;
    let path = "/api/public/tenants/model/projects/model/integrations/app/webhook";
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    for at_once in [1, 16] {
        let text = |number| format!("{{\"id\":\"{at_once}-{number}\",\"text\":\"{body}\"}}");
        let plain = series(field, at_once, |number| http.post(format!("{upstream}/echo")).body(text(number))).await;
        let signed = |number| {
            let text = text(number);
            let tag = hmac::sign(&key, text.as_bytes());
            http.post(format!("{public}{path}")).header("x-app-signature", hex(tag.as_ref())).body(text)
        };
        let relayed = series(field, at_once, signed).await;
        compare("webhook, verified and handed on", at_once, &plain, &relayed);
    }
}
