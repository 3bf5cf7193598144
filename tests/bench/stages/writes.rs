//! What the writes of a refresh that are no plain patches cost the control plane, one kind after the other, without the
//! operator. The grant's two are the floor's.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::iter;
use integration_operator::api::ProjectIntegration;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use crate::field::Field;
use crate::meter::Reading;
use crate::setting;

/// Writes under way at once.
const AT_ONCE: usize = 16;
/// Objects that are written to in turn.
const OBJECTS: usize = 200;

pub async fn measure(field: &mut Field) {
    field.grow(OBJECTS).await;
    field.stop().await;
    println!("\nwrites: one kind after the other, {AT_ONCE} at once");
    let owners: Vec<_> = field.owners.values().take(OBJECTS).cloned().collect();
    let client = &field.world.client;
    let apply = &PatchParams::apply("bench").force();
    run(field, "published Secret: apply", async |index, count| {
        let owner = &owners[index % OBJECTS];
        let api: Api<Secret> = Api::namespaced(client.clone(), &owner.namespace);
        let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": owner.name },
            "type": "integrations.tms.dev/token", "stringData": { "bench": count.to_string() } });
        api.patch(&owner.name, apply, &Patch::Apply(&secret)).await.unwrap();
    })
    .await;
    for (what, tracked) in [("grant: merge patch", true), ("grant: merge patch, untracked", false)] {
        let api: Api<Secret> = Api::namespaced(client.clone(), crate::world::OPERATOR);
        let name = |index: usize| {
            let owner = &owners[index % OBJECTS];
            integration_operator::grant::store::grant_name(&owner.namespace, &owner.name)
        };
        if !tracked {
            for index in 0..OBJECTS {
                let patch = json!({ "metadata": { "managedFields": [{}] } });
                api.patch(&name(index), &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
            }
        }
        run(field, what, async |index, count| {
            let patch = json!({ "metadata": { "annotations": { "bench": count.to_string() } } });
            api.patch(&name(index), &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
        })
        .await;
    }
    let mut standing = Vec::new();
    for owner in &owners {
        let api: Api<ProjectIntegration> = Api::namespaced(client.clone(), &owner.namespace);
        standing.push(api.get(&owner.name).await.unwrap());
    }
    for (what, applied) in [("status: apply", true), ("status: merge patch", false)] {
        run(field, what, async |index, count| {
            let object = &standing[index % OBJECTS];
            let api: Api<ProjectIntegration> = Api::namespaced(client.clone(), &object.namespace().unwrap());
            let mut status = object.status.clone().unwrap();
            status.token.as_mut().unwrap().last_refreshed_at = format!("{:?} {count}", std::time::SystemTime::now());
            let name = object.name_any();
            if applied {
                let patch = json!({ "apiVersion": "integrations.tms.dev/v1alpha1", "kind": "ProjectIntegration",
                    "metadata": { "name": name }, "status": status });
                let apply = PatchParams::apply("integration-operator").force();
                api.patch_status(&name, &apply, &Patch::Apply(&patch)).await.unwrap();
            } else {
                let patch = json!({ "status": status });
                let how =
                    PatchParams { field_manager: Some("integration-operator".to_owned()), ..PatchParams::default() };
                api.patch_status(&name, &how, &Patch::Merge(&patch)).await.unwrap();
            }
        })
        .await;
    }
    field.start().await;
    field.settled().await;
}

/// Writes for some seconds, each worker to objects of its own.
async fn run(field: &Field, what: &str, write: impl AsyncFn(usize, usize)) {
    let until = Instant::now() + Duration::from_secs(setting("FLOOR_SECONDS", 10)) / 3;
    let before = Reading::take(&field.world, None).await;
    let write = &write;
    let counts: Vec<usize> = iter(0..AT_ONCE)
        .map(|worker| async move {
            let mut count = 0;
            while Instant::now() < until {
                write(worker + count % (OBJECTS / AT_ONCE) * AT_ONCE, count).await;
                count += 1;
            }
            count
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let after = Reading::take(&field.world, None).await;
    let each = |spent: f64| spent * 1000.0 / counts.iter().sum::<usize>() as f64;
    println!(
        "  {what:<34} API server {:.2} ms, etcd {:.2} ms, controller manager {:.2} ms",
        each(after.api_server - before.api_server),
        each(after.etcd - before.etcd),
        each(after.controller_manager - before.controller_manager),
    );
}
