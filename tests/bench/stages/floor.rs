//! The floor: how many plain Secret patches a second this control plane takes from one client.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::iter;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::field::Field;
use crate::meter::Reading;
use crate::setting;
use crate::world::OPERATOR;

/// Secrets that are patched in turn.
const SECRETS: usize = 256;

/// Patches Secrets of a grant's size for `FLOOR_SECONDS` (10), as many at once as serve best, and gives the best rate.
pub async fn measure(field: &Field) -> f64 {
    let api: Api<Secret> = Api::namespaced(field.world.client.clone(), OPERATOR);
    for number in 0..SECRETS {
        let secret: Secret = serde_json::from_value(json!({
            "metadata": { "name": format!("floor-{number}") },
            "stringData": { "grant": "x".repeat(2048) },
        }))
        .unwrap();
        api.create(&PostParams::default(), &secret).await.unwrap();
    }
    let seconds = setting("FLOOR_SECONDS", 10);
    let mut best = 0.0_f64;
    println!("\nfloor: plain patches of Secrets");
    for at_once in [16, 64, 128] {
        let (before, began) = (Reading::take(&field.world, None).await, Instant::now());
        let until = began + Duration::from_secs(seconds) / 3;
        let patched: usize = iter(0..at_once)
            .map(|worker| {
                let api = api.clone();
                async move {
                    let mut count = 0;
                    while Instant::now() < until {
                        let name = format!("floor-{}", (worker + count * at_once) % SECRETS);
                        let patch = json!({ "metadata": { "annotations": { "count": count.to_string() } } });
                        api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
                        count += 1;
                    }
                    count
                }
            })
            .buffer_unordered(at_once)
            .fold(0, async |sum, count| sum + count)
            .await;
        let (took, after) = (began.elapsed().as_secs_f64(), Reading::take(&field.world, None).await);
        let rate = patched as f64 / took;
        let each = |before: f64, after: f64| (after - before) * 1000.0 / patched as f64;
        println!(
            "  {at_once:3} at once: {rate:.0} a second; CPU each: API server {:.2} ms, etcd {:.2} ms",
            each(before.api_server, after.api_server),
            each(before.etcd, after.etcd),
        );
        best = best.max(rate);
    }
    best
}
