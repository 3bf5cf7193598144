//! Actions of the built-in descriptions against emulators that others wrote: what was done is there when the emulator's own API
//! is asked.

use http::Method;
use serde_json::{Value, json};

use crate::acting::{path, post_to, send};
use crate::emulators::emulators;
use crate::emulators_by_person::{connect, google, linear, microsoft};
use crate::servers;
use crate::servers::{Emulate, EmulateOptions};
use crate::world::{World, is_ready};

#[tokio::test(flavor = "multi_thread")]
async fn slack_and_github_are_acted_on() {
    if !servers::available() {
        return;
    }
    let Some(world) = World::start("slack_and_github_are_acted_on").await else { return };
    let emulate = emulators(&world, &["chat:write", "channels:read", "channels:history"]).await;
    let (slack, github) = (emulate.slack().to_owned(), emulate.github().to_owned());
    let _operator = world.operator().await;
    world.tenant("acme").await;
    let token = world.admin_of("acme").await;
    for type_ in ["slack", "github"] {
        world.connect(&token, "acme", "web", type_).await;
        world.wait("acme", &format!("web.{type_}"), "ready", is_ready).await;
    }

    // The channel as the workspace itself tells it; the emulator lists by POST alone.
    let bot = world.secret("acme", "web.slack").await.unwrap()["access_token"].clone();
    let url = format!("{slack}/api/conversations.list");
    let listed: Value = world.http.post(url).bearer_auth(&bot).send().await.unwrap().json().await.unwrap();
    let channel = listed["channels"][0]["id"].as_str().unwrap_or_else(|| panic!("{listed}")).to_owned();
    let message = json!({ "channel": channel, "text": "Disk full" });
    let (status, posted) = post_to(&world, &token, &path("acme", "slack/messages"), message).await;
    assert_eq!(status, 200, "{posted}");
    let ts = posted["result"]["id"].as_str().unwrap().to_owned();
    let (status, answered) = post_to(
        &world,
        &token,
        &path("acme", "slack/actions/send-message"),
        json!({ "channel": channel, "text": "Still full", "thread": ts }),
    )
    .await;
    assert_eq!(status, 200, "{answered}");
    let url = format!("{slack}/api/conversations.history");
    let asked = world.http.post(url).bearer_auth(&bot).json(&json!({ "channel": channel }));
    let history: Value = asked.send().await.unwrap().json().await.unwrap();
    let messages = history["messages"].as_array().unwrap();
    assert!(messages.iter().any(|message| message["ts"] == ts.as_str() && message["text"] == "Disk full"), "{history}");

    // A refusal has Slack's own word and what to do.
    let nowhere = json!({ "channel": "C404", "text": "hi" });
    let (status, refused) = post_to(&world, &token, &path("acme", "slack/messages"), nowhere).await;
    assert_eq!(
        (status, &refused["code"], &refused["app"]["code"]),
        (422, &json!("app_refused"), &json!("channel_not_found"))
    );
    assert!(refused["error"].as_str().unwrap().contains("use the id of a channel"), "{refused}");

    // What does not fit the schema is never sent, and values are not repeated.
    let wrong = json!({ "channel": 7, "text": "canary-of-the-text", "colour": "red" });
    let (status, refused) = post_to(&world, &token, &path("acme", "slack/messages"), wrong).await;
    assert_eq!((status, &refused["code"]), (400, &json!("invalid_input")), "{refused}");
    let told = refused["error"].as_str().unwrap();
    assert!(told.contains("/channel") && told.contains("colour") && !told.contains("canary"), "{told}");
    let (status, unknown) = post_to(&world, &token, &path("acme", "slack/actions/fly"), json!({})).await;
    assert_eq!((status, &unknown["code"]), (404, &json!("action_not_found")));
    assert!(unknown["error"].as_str().unwrap().contains("send-message"));
    let (status, none) =
        post_to(&world, &token, &path("acme", "slack/actions/send-webhook-message"), json!({ "text": "hi" })).await;
    assert_eq!((status, &none["code"]), (409, &json!("not_granted")), "{none}");

    let (status, actions) = send(&world, &token, Method::GET, &path("acme", "github/actions"), None).await;
    assert_eq!(status, 200);
    let create = actions["actions"].as_array().unwrap().iter().find(|action| action["name"] == "create-issue");
    assert_eq!(create.unwrap()["input"]["required"], json!(["owner", "repo", "title"]));

    // An issue, by the repository that GitHub's own API makes.
    let own = world.secret("acme", "web.github").await.unwrap()["access_token"].clone();
    let made = world.http.post(format!("{github}/user/repos")).bearer_auth(&own).header("user-agent", "test");
    let made: Value = made.json(&json!({ "name": "hello" })).send().await.unwrap().json().await.unwrap();
    let owner = made["owner"]["login"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    let issue = json!({ "owner": owner, "repo": "hello", "title": "Disk full", "body": "Since noon" });
    let (status, created) = post_to(&world, &token, &path("acme", "github/actions/create-issue"), issue).await;
    assert_eq!(status, 200, "{created}");
    let number = created["result"]["number"].as_u64().unwrap();
    let comment = json!({ "owner": owner, "repo": "hello", "number": number, "text": "Me too" });
    let (status, commented) = post_to(&world, &token, &path("acme", "github/actions/comment-issue"), comment).await;
    assert_eq!(status, 200, "{commented}");
    let url = format!("{github}/repos/{owner}/hello/issues/{number}");
    let seen: Value =
        world.http.get(url).bearer_auth(&own).header("user-agent", "test").send().await.unwrap().json().await.unwrap();
    assert_eq!((&seen["title"], &seen["comments"]), (&json!("Disk full"), &json!(1)), "{seen}");

    // The same with the API itself, by the proxy.
    let (status, user) = send(&world, &token, Method::GET, &path("acme", "github/proxy/user"), None).await;
    assert_eq!((status, &user["login"]), (200, &json!(owner)));
}

/// Google, Microsoft and Linear, of which a person is connected, and the person's token of the operator.
async fn connected_by_person(world: &World) -> (Emulate, String) {
    let services = ["google", "microsoft", "linear"];
    let callback = |type_: &&str| format!("{}/api/public/integrations/{type_}/callback", world.public_url);
    let options = EmulateOptions { redirect_uris: services.iter().map(callback).collect(), ..EmulateOptions::new("") };
    let emulate = Emulate::start(&services, options).await;
    for (service, describe, api) in [
        ("google", google as fn(&str) -> Value, "/calendar/v3"),
        ("microsoft", microsoft, "/v1.0"),
        ("linear", linear, ""),
    ] {
        let base = emulate.url(service);
        let mut description = describe(base);
        description["api"] = json!({ "baseURL": format!("{base}{api}") });
        world.provider(service, &emulate.client_id, &emulate.client_secret, description).await;
    }
    world.tenant("acme").await;
    (emulate, world.admin_of("acme").await)
}

/// The access token that a workload has.
async fn published(world: &World, service: &str) -> String {
    world.secret("acme", &format!("web.{service}")).await.unwrap()["access_token"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn google_microsoft_and_linear_are_acted_on() {
    if !servers::available() {
        return;
    }
    let Some(world) = World::start("google_microsoft_and_linear_are_acted_on").await else { return };
    let (emulate, token) = connected_by_person(&world).await;
    let _operator = world.operator().await;
    for service in ["google", "microsoft", "linear"] {
        connect(&world, &token, service).await;
        world.wait("acme", &format!("web.{service}"), "ready", is_ready).await;
    }
    an_event(&world, &emulate, &token).await;
    a_person_of_a_directory(&world, &emulate, &token).await;
    an_issue(&world, &emulate, &token).await;
}

async fn an_event(world: &World, emulate: &Emulate, token: &str) {
    let event = json!({
        "summary": "Disk full", "description": "Who comes?", "location": "Room 7",
        "start": "2030-05-02T09:00:00Z", "end": "2030-05-02T09:30:00Z", "timeZone": "Europe/Vienna",
        "attendees": [{ "email": "ops@example.test" }], "conference": true,
    });
    let (status, created) = post_to(world, token, &path("acme", "google/actions/create-event"), event).await;
    assert_eq!(status, 200, "{created}");
    let id = created["result"]["id"].as_str().unwrap_or_else(|| panic!("{created}")).to_owned();

    // In the calendar, as Google itself tells it.
    let url = format!("{}/calendar/v3/calendars/primary/events", emulate.url("google"));
    let asked = world.http.get(url).bearer_auth(published(world, "google").await);
    let listed: Value = asked.send().await.unwrap().json().await.unwrap();
    let found = listed["items"].as_array().unwrap().iter().find(|event| event["id"] == id.as_str());
    let found = found.unwrap_or_else(|| panic!("{listed}"));
    assert_eq!((&found["summary"], &found["location"]), (&json!("Disk full"), &json!("Room 7")));
    assert_eq!(found["start"]["dateTime"], "2030-05-02T09:00:00Z");
    assert_eq!(found["attendees"][0]["email"], "ops@example.test");

    // By the action that lists, and by the proxy; what is not there is refused with Google's word.
    let range = json!({ "from": "2030-05-01T00:00:00Z", "to": "2030-06-01T00:00:00Z" });
    let (status, listed) = post_to(world, token, &path("acme", "google/actions/list-events"), range).await;
    assert_eq!((status, &listed["result"]["events"][0]["id"]), (200, &json!(id)), "{listed}");
    let nowhere = json!({
        "calendar": "nobody@example.test", "summary": "x", "start": "2030-05-02T09:00:00Z", "end": "2030-05-02T09:30:00Z",
    });
    let (status, refused) = post_to(world, token, &path("acme", "google/actions/create-event"), nowhere).await;
    assert_eq!((status, &refused["app"]["code"]), (422, &json!("notFound")), "{refused}");
    assert!(refused["error"].as_str().unwrap().contains("there is no such calendar"), "{refused}");
    let away = path("acme", &format!("google/proxy/calendars/primary/events/{id}"));
    let (status, gone) = send(world, token, Method::DELETE, &away, None).await;
    assert_eq!(status, 204, "{gone}");
    let (status, listed) =
        send(world, token, Method::GET, &path("acme", "google/proxy/calendars/primary/events"), None).await;
    assert_eq!(status, 200);
    assert!(listed["items"].as_array().unwrap().iter().all(|event| event["id"] != id.as_str()), "{listed}");
}

/// The emulator's Graph has people alone, no teams: it refuses a message, which arrives at the documented place.
async fn a_person_of_a_directory(world: &World, emulate: &Emulate, token: &str) {
    let (status, me) = send(world, token, Method::GET, &path("acme", "microsoft/proxy/me"), None).await;
    assert_eq!((status, &me["mail"]), (200, &json!("dev@example.test")), "{me}");
    let id = me["id"].as_str().unwrap();
    let (status, same) =
        send(world, token, Method::GET, &path("acme", &format!("microsoft/proxy/users/{id}")), None).await;
    assert_eq!((status, &same["id"]), (200, &me["id"]), "{same}");
    let message = json!({ "team": "T1", "channel": "19:abc@thread.tacv2", "text": "Disk full" });
    let (status, refused) = post_to(world, token, &path("acme", "microsoft/messages"), message).await;
    assert_eq!(
        (status, &refused["code"], &refused["app"]["status"]),
        (422, &json!("app_refused"), &json!(404)),
        "{refused}"
    );
    let bearer = format!("Bearer {}", published(world, "microsoft").await);
    let requests = emulate.requests("microsoft").await;
    let arrived = requests.iter().find(|request| {
        request["method"] == "POST" && request["path"].as_str().is_some_and(|path| path.contains("/channels/"))
    });
    let arrived = arrived.unwrap_or_else(|| panic!("{requests:?}"));
    let place = arrived["path"].as_str().unwrap().replace("%3A", ":").replace("%40", "@");
    assert_eq!(place, "/v1.0/teams/T1/channels/19:abc@thread.tacv2/messages");
    assert_eq!(arrived["authorization"], bearer);
}

/// The emulator's schema has neither the `url` of a comment nor an order of issues, which comments and searches ask for.
async fn an_issue(world: &World, emulate: &Emulate, token: &str) {
    let act = async |action: &str, input: Value| {
        let (status, done) = post_to(world, token, &path("acme", &format!("linear/actions/{action}")), input).await;
        assert_eq!(status, 200, "{action}: {done}");
        done["result"].clone()
    };
    let teams = act("list-teams", json!({})).await;
    let team = teams["teams"].as_array().unwrap().iter().find(|team| team["key"] == "ENG");
    let team = team.unwrap_or_else(|| panic!("{teams}"))["id"].clone();
    let created =
        act("create-issue", json!({ "team": team, "title": "Disk full", "description": "Since noon", "priority": 2 }))
            .await;
    let issue = created["issue"]["id"].clone();
    assert_eq!(created["issue"]["title"], "Disk full", "{created}");
    let read = act("get-issue", json!({ "issue": issue })).await;
    assert_eq!(
        (&read["issue"]["description"], &read["issue"]["priority"]),
        (&json!("Since noon"), &json!(2)),
        "{read}"
    );
    act("update-issue", json!({ "issue": issue, "title": "Disk was full" })).await;

    // In the workspace, as Linear itself tells it.
    let query = "query($id: String!) { issue(id: $id) { identifier title } }";
    let url = format!("{}/graphql", emulate.url("linear"));
    let asked = world.http.post(url).bearer_auth(published(world, "linear").await);
    let asked = asked.json(&json!({ "query": query, "variables": { "id": issue } }));
    let seen: Value = asked.send().await.unwrap().json().await.unwrap();
    let seen = &seen["data"]["issue"];
    assert_eq!(
        (&seen["title"], &seen["identifier"]),
        (&json!("Disk was full"), &created["issue"]["identifier"]),
        "{seen}"
    );
}
