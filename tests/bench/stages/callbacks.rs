//! How many callbacks a second one replica takes: consume the attempt, exchange the code, write the grant, redirect.

use std::time::Instant;

use futures::StreamExt as _;
use futures::stream::iter;
use serde_json::Value;

use crate::field::Field;
use crate::meter::Reading;
use crate::servers;
use crate::setting;

/// Callbacks under way at once.
const AT_ONCE: usize = 32;
/// Attempts of one tenant, half of what is allowed.
const OF_TENANT: usize = 100;

/// Prepares `CALLBACKS` (500) browsers that the provider has just sent back, and lets them arrive.
pub async fn measure(field: &mut Field) {
    let count = setting("CALLBACKS", 500) as usize;
    let http = &servers::http_client();
    let this = &*field;
    let mut tokens = Vec::new();
    for tenant in 0..count.div_ceil(OF_TENANT) {
        let tenant = format!("callbacks{tenant}");
        this.world.tenant(&tenant).await;
        tokens.push((this.world.admin_of(&tenant).await, tenant));
    }
    let ready: Vec<(String, String)> = iter(0..count)
        .map(|number| this.authorized(http, &tokens[number / OF_TENANT], number))
        .buffer_unordered(8)
        .collect()
        .await;
    field.quiet().await;
    let (before, began) = (Reading::take(&field.world, field.operator.as_ref()).await, Instant::now());
    let landed: Vec<String> = iter(ready)
        .map(|(url, cookie)| async move {
            let answer = http.get(url).header("cookie", cookie).send().await.unwrap();
            answer.headers().get("location").map(|to| to.to_str().unwrap().to_owned()).unwrap_or_default()
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let took = began.elapsed().as_secs_f64();
    field.quiet().await;
    let after = Reading::take(&field.world, field.operator.as_ref()).await;
    let connected = landed.iter().filter(|to| to.contains("status=success")).count();
    let pending = landed.iter().filter(|to| to.contains("status=pending")).count();
    println!("\ncallbacks: {count}, {AT_ONCE} at once: {connected} connected, {pending} to be connected in a moment");
    for to in landed.iter().filter(|to| !to.contains("status=")).take(1) {
        println!("  the others: {to}");
    }
    println!("  {:.0} a second", count as f64 / took);
    let each = |spent: f64| spent * 1000.0 / count as f64;
    println!(
        "  CPU each, with publication and status: operator {:.2} ms, API server {:.2} ms",
        each(after.operator - before.operator),
        each(after.api_server - before.api_server)
    );
}

impl Field {
    /// The address at which a browser comes back from the provider, and its cookie.
    async fn authorized(
        &self,
        http: &reqwest::Client,
        (token, tenant): &(String, String),
        number: usize,
    ) -> (String, String) {
        let path = format!("/v1/tenants/{tenant}/projects/c{number}/integrations/app/install");
        let answer = self.world.get(token, &path).await;
        assert_eq!(answer.status(), 200, "install");
        let cookie = answer.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        let start = answer.json::<Value>().await.unwrap()["oauth_url"].as_str().unwrap().to_owned();
        let mut url = start;
        for _ in 0..2 {
            let answer = http.get(&url).header("cookie", &cookie).send().await.unwrap();
            let to = answer.headers().get("location").unwrap_or_else(|| panic!("{} has no location", answer.status()));
            to.to_str().unwrap().clone_into(&mut url);
        }
        (url, cookie)
    }
}
