//! Acting through connections of persons, against emulators that others wrote: Google, Microsoft and Linear. What was done is
//! there when the emulator's own API is asked for it.

use http::Method;
use serde_json::{Value, json};

use crate::acting::{path, post_to, send};
use crate::emulators_by_person::{PERSON, connect, google, linear, microsoft};
use crate::servers;
use crate::servers::{Emulate, EmulateOptions};
use crate::world::{World, is_ready};

#[tokio::test(flavor = "multi_thread")]
async fn google_microsoft_and_linear_are_acted_on() {
    if !servers::available() {
        return;
    }
    let Some(world) = World::start("google_microsoft_and_linear_are_acted_on").await else { return };
    let services = ["google", "microsoft", "linear"];
    let callback = |service: &&str| format!("{}/api/public/integrations/{service}/callback", world.public_url);
    let options = EmulateOptions { redirect_uris: services.iter().map(callback).collect(), ..EmulateOptions::new("") };
    let emulate = Emulate::start(&services, options).await;
    for (service, description, base) in [
        ("google", google as fn(&str) -> Value, "/calendar/v3"),
        ("microsoft", microsoft, "/v1.0"),
        ("linear", linear, ""),
    ] {
        let address = emulate.url(service);
        let mut description = description(address);
        description["api"] = json!({ "baseURL": format!("{address}{base}") });
        world.provider(service, &emulate.client_id, &emulate.client_secret, description).await;
    }
    let _operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    for service in services {
        connect(&world, &token, service).await;
        world.wait("acme", &format!("web.{service}"), "ready", is_ready).await;
    }
    a_calendar(&world, &token, emulate.url("google")).await;
    a_team(&world, &token, emulate.url("linear")).await;

    // The emulator of Microsoft knows the person, and no teams: what it has, by the proxy.
    let (status, me) = send(&world, &token, Method::GET, &path("acme", "microsoft/proxy/me"), None).await;
    assert_eq!((status, &me["mail"]), (200, &json!(PERSON)), "{me}");
    let (status, refused) = post_to(&world, &token, &path("acme", "microsoft/actions/list-teams"), json!({})).await;
    assert_eq!((status, &refused["code"], &refused["app"]["status"]), (422, &json!("app_refused"), &json!(404)));
}

async fn a_calendar(world: &World, token: &str, google: &str) {
    let event = json!({
        "calendar": PERSON, "summary": "Review", "start": "2026-12-07T09:00:00Z", "end": "2026-12-07T10:00:00Z",
        "attendees": [{ "email": "guest@example.test" }],
    });
    let (status, created) = post_to(world, token, &path("acme", "google/actions/create-event"), event).await;
    assert_eq!(status, 200, "{created}");
    let own = world.secret("acme", "web.google").await.unwrap()["access_token"].clone();
    let url = format!("{google}/calendar/v3/calendars/{PERSON}/events");
    let listed: Value = world.http.get(url).bearer_auth(own).send().await.unwrap().json().await.unwrap();
    let found = listed["items"].as_array().into_iter().flatten().find(|event| event["id"] == created["result"]["id"]);
    let found = found.unwrap_or_else(|| panic!("{created}: {listed}"));
    assert_eq!((&found["summary"], &found["attendees"][0]["email"]), (&json!("Review"), &json!("guest@example.test")));

    let day = json!({ "calendar": PERSON, "from": "2026-12-07T00:00:00Z", "to": "2026-12-08T00:00:00Z" });
    let (status, events) = post_to(world, token, &path("acme", "google/actions/list-events"), day).await;
    assert_eq!((status, &events["result"]["events"][0]["id"]), (200, &created["result"]["id"]), "{events}");
    let nowhere = json!({ "calendar": "nobody@example.test", "summary": "x", "start": "2026-12-07T09:00:00Z", "end": "2026-12-07T10:00:00Z" });
    let (status, refused) = post_to(world, token, &path("acme", "google/actions/create-event"), nowhere).await;
    assert_eq!((status, &refused["app"]["code"]), (422, &json!("notFound")), "{refused}");
    assert!(refused["error"].as_str().unwrap().contains("there is no such calendar"), "{refused}");
}

async fn a_team(world: &World, token: &str, linear: &str) {
    let (status, teams) = post_to(world, token, &path("acme", "linear/actions/list-teams"), json!({})).await;
    assert_eq!((status, &teams["result"]["teams"][0]["key"]), (200, &json!("ENG")), "{teams}");
    let issue = json!({ "team": teams["result"]["teams"][0]["id"], "title": "Disk full", "priority": 2 });
    let (status, created) = post_to(world, token, &path("acme", "linear/actions/create-issue"), issue).await;
    assert_eq!(status, 200, "{created}");
    let id = created["result"]["issue"]["id"].clone();
    let change = json!({ "issue": id, "description": "Since noon" });
    let (status, changed) = post_to(world, token, &path("acme", "linear/actions/update-issue"), change).await;
    assert_eq!(status, 200, "{changed}");
    // Comments of this emulator have no `url`, which is asked for; its refusal is told as Linear's would be.
    let comment = json!({ "issue": id, "text": "Me too" });
    let (status, refused) = post_to(world, token, &path("acme", "linear/actions/comment-issue"), comment).await;
    assert_eq!((status, &refused["code"]), (422, &json!("app_refused")), "{refused}");
    assert!(refused["app"]["message"].as_str().unwrap().contains("Cannot query field"), "{refused}");
    let (status, read) = post_to(world, token, &path("acme", "linear/actions/get-issue"), json!({ "issue": id })).await;
    assert_eq!((status, &read["result"]["issue"]["title"]), (200, &json!("Disk full")), "{read}");

    let own = world.secret("acme", "web.linear").await.unwrap()["access_token"].clone();
    let query = json!({
        "query": "query($id: String!) { issue(id: $id) { title priority description } }",
        "variables": { "id": id },
    });
    let asked = world.http.post(format!("{linear}/graphql")).bearer_auth(own).json(&query);
    let seen: Value = asked.send().await.unwrap().json().await.unwrap();
    let seen = &seen["data"]["issue"];
    assert_eq!((&seen["title"], &seen["priority"]), (&json!("Disk full"), &json!(2)), "{seen}");
    assert_eq!(seen["description"], "Since noon", "{seen}");
}
