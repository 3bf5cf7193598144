//! The actions of the built-in descriptions: for each the request to the letter, as the app's documentation has it, and what
//! is made of the documented answer.

use serde_json::{Value, json};

use super::tests::{Played, carry_out};
use crate::provider::catalogue;

/// One action: its input, what is sent for it, what is answered, and what the caller gets.
struct Case {
    preset: &'static str,
    action: &'static str,
    input: Value,
    sent: &'static str,
    body: Value,
    answer: Value,
    result: Value,
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn cases() -> Vec<Case> {
    let case =
        |preset, action, input, sent, body, answer, result| Case { preset, action, input, sent, body, answer, result };
    let paragraph = json!({ "type": "doc", "version": 1, "content": [
        { "type": "paragraph", "content": [{ "type": "text", "text": "It is full" }] },
    ] });
    vec![
        case(
            "slack",
            "send-message",
            json!({ "channel": "C1", "text": "hi", "thread": "1.2", "blocks": [{ "type": "divider" }] }),
            "POST https://slack.com/api/chat.postMessage",
            json!({ "channel": "C1", "text": "hi", "thread_ts": "1.2", "blocks": [{ "type": "divider" }] }),
            json!({ "ok": true, "channel": "C1", "ts": "3.4", "message": { "thread_ts": "1.2" } }),
            json!({ "id": "3.4", "channel": "C1", "thread": "1.2" }),
        ),
        case(
            "slack",
            "list-channels",
            json!({ "limit": 2, "cursor": "c=" }),
            "GET https://slack.com/api/conversations.list?cursor=c%3D&exclude_archived=true&limit=2&types=public_channel",
            Value::Null,
            json!({ "ok": true, "channels": [{ "id": "C1" }], "response_metadata": { "next_cursor": "" } }),
            json!({ "channels": [{ "id": "C1" }] }),
        ),
        case(
            "slack",
            "get-workspace",
            json!({}),
            "POST https://slack.com/api/auth.test",
            Value::Null,
            json!({ "ok": true, "team": "Acme", "team_id": "T1", "url": "https://acme.slack.com/", "user_id": "U1" }),
            json!({ "id": "T1", "name": "Acme", "url": "https://acme.slack.com/", "botUserId": "U1" }),
        ),
        case(
            "discord",
            "list-guilds",
            json!({}),
            "GET https://discord.com/api/v10/users/@me/guilds?limit=200",
            Value::Null,
            json!([{ "id": "80351110224678912", "name": "1337 Krew" }]),
            json!({ "guilds": [{ "id": "80351110224678912", "name": "1337 Krew" }] }),
        ),
        case(
            "teams",
            "send-message",
            json!({ "team": "t-1", "channel": "19:4a95@thread.tacv2", "text": "Hello World" }),
            "POST https://graph.microsoft.com/v1.0/teams/t-1/channels/19%3A4a95%40thread.tacv2/messages",
            json!({ "body": { "contentType": "text", "content": "Hello World" } }),
            json!({ "id": "1590776551682", "webUrl": "https://teams.microsoft.com/l/message/1" }),
            json!({ "id": "1590776551682", "url": "https://teams.microsoft.com/l/message/1" }),
        ),
        case(
            "teams",
            "send-message",
            json!({ "team": "t-1", "channel": "c", "thread": "159", "card": { "type": "AdaptiveCard", "version": "1.4" } }),
            "POST https://graph.microsoft.com/v1.0/teams/t-1/channels/c/messages/159/replies",
            json!({
                "body": { "contentType": "html", "content": "<attachment id=\"card\"></attachment>" },
                "attachments": [{
                    "id": "card", "contentType": "application/vnd.microsoft.card.adaptive",
                    "content": "{\"type\":\"AdaptiveCard\",\"version\":\"1.4\"}",
                }],
            }),
            json!({ "id": "160", "webUrl": null }),
            json!({ "id": "160", "url": null }),
        ),
        case(
            "jira",
            "create-issue",
            json!({
                "project": "WEB", "type": "Task", "summary": "Disk", "description": "It is full",
                "fields": { "customfield_10010": "x" },
            }),
            "POST https://api.atlassian.com/ex/jira/site-1/rest/api/3/issue",
            json!({ "fields": {
                "project": { "key": "WEB" }, "issuetype": { "name": "Task" }, "summary": "Disk",
                "description": paragraph, "customfield_10010": "x",
            } }),
            json!({ "id": "10000", "key": "WEB-24", "self": "https://…" }),
            json!({ "id": "10000", "key": "WEB-24" }),
        ),
        case(
            "jira",
            "update-issue",
            json!({ "issue": "WEB-24", "labels": ["a"] }),
            "PUT https://api.atlassian.com/ex/jira/site-1/rest/api/3/issue/WEB-24",
            json!({ "fields": { "labels": ["a"] } }),
            Value::Null,
            json!({ "issue": "WEB-24" }),
        ),
        case(
            "jira",
            "comment-issue",
            json!({ "issue": "WEB-24", "text": "It is full" }),
            "POST https://api.atlassian.com/ex/jira/site-1/rest/api/3/issue/WEB-24/comment",
            json!({ "body": paragraph }),
            json!({ "id": "10001" }),
            json!({ "id": "10001" }),
        ),
        case(
            "jira",
            "search-issues",
            json!({ "query": "updated >= -1d", "cursor": "n1" }),
            "POST https://api.atlassian.com/ex/jira/site-1/rest/api/3/search/jql",
            json!({
                "jql": "updated >= -1d", "maxResults": 50, "nextPageToken": "n1",
                "fields": ["summary", "status", "assignee", "labels", "updated", "created", "issuetype", "priority"],
            }),
            json!({ "issues": [{ "key": "WEB-1" }], "isLast": true }),
            json!({ "issues": [{ "key": "WEB-1" }] }),
        ),
        case(
            "linear",
            "create-issue",
            json!({ "team": "9cfb482a", "title": "Disk", "priority": 2 }),
            "POST https://api.linear.app/graphql",
            json!({
                "query": "mutation($input: IssueCreateInput!) { issueCreate(input: $input) { success issue { id identifier url title } } }",
                "variables": { "input": { "teamId": "9cfb482a", "title": "Disk", "priority": 2 } },
            }),
            json!({ "data": { "issueCreate": { "success": true, "issue": { "id": "i1", "identifier": "WEB-1" } } } }),
            json!({ "issue": { "id": "i1", "identifier": "WEB-1" } }),
        ),
        case(
            "github",
            "create-issue",
            json!({ "owner": "octo", "repo": "hello", "title": "Disk", "labels": ["bug"] }),
            "POST https://api.github.com/repos/octo/hello/issues",
            json!({ "title": "Disk", "labels": ["bug"] }),
            json!({ "number": 1347, "id": 1, "html_url": "https://github.com/octo/hello/issues/1347" }),
            json!({ "number": 1347, "id": 1, "url": "https://github.com/octo/hello/issues/1347" }),
        ),
        case(
            "github",
            "comment-issue",
            json!({ "owner": "octo", "repo": "hello", "number": 1347, "text": "Me too" }),
            "POST https://api.github.com/repos/octo/hello/issues/1347/comments",
            json!({ "body": "Me too" }),
            json!({ "id": 7, "html_url": "https://github.com/octo/hello/issues/1347#issuecomment-7" }),
            json!({ "id": 7, "url": "https://github.com/octo/hello/issues/1347#issuecomment-7" }),
        ),
        case(
            "google-calendar",
            "create-event",
            json!({ "summary": "Stand-up", "start": "2026-01-01T09:00:00Z", "end": "2026-01-01T09:15:00Z", "conference": true }),
            "POST https://www.googleapis.com/calendar/v3/calendars/primary/events?conferenceDataVersion=1&sendUpdates=none",
            json!({
                "summary": "Stand-up",
                "start": { "dateTime": "2026-01-01T09:00:00Z" }, "end": { "dateTime": "2026-01-01T09:15:00Z" },
                "conferenceData": { "createRequest": {
                    "requestId": "key-1", "conferenceSolutionKey": { "type": "hangoutsMeet" },
                } },
            }),
            json!({ "id": "e1", "htmlLink": "https://calendar.google.com/e1", "hangoutLink": "https://meet.google.com/a" }),
            json!({ "id": "e1", "url": "https://calendar.google.com/e1", "conferenceURL": "https://meet.google.com/a" }),
        ),
        case(
            "zoom",
            "create-meeting",
            json!({ "topic": "Demo", "start": "2026-01-01T09:00:00Z", "duration": 30 }),
            "POST https://api.zoom.us/v2/users/me/meetings",
            json!({ "topic": "Demo", "type": 2, "start_time": "2026-01-01T09:00:00Z", "duration": 30 }),
            json!({ "id": 9, "join_url": "https://zoom.us/j/9", "start_url": "https://zoom.us/s/9?zak=secret", "password": "p",
                "start_time": "2026-01-01T09:00:00Z" }),
            json!({ "id": 9, "joinURL": "https://zoom.us/j/9", "passcode": "p", "start": "2026-01-01T09:00:00Z" }),
        ),
        case(
            "zendesk",
            "create-ticket",
            json!({ "subject": "Disk", "text": "It is full", "priority": "urgent" }),
            "POST https://acme.zendesk.com/api/v2/tickets.json",
            json!({ "ticket": { "subject": "Disk", "comment": { "body": "It is full" }, "priority": "urgent" } }),
            json!({ "ticket": { "id": 35436, "url": "https://acme.zendesk.com/api/v2/tickets/35436.json", "status": "new" } }),
            json!({ "id": 35436, "url": "https://acme.zendesk.com/api/v2/tickets/35436.json", "status": "new" }),
        ),
        case(
            "zendesk",
            "search-tickets",
            json!({ "since": 1_332_034_771 }),
            "GET https://acme.zendesk.com/api/v2/incremental/tickets/cursor.json?per_page=100&start_time=1332034771",
            Value::Null,
            json!({ "tickets": [{ "id": 1 }], "after_cursor": "c", "end_of_stream": true }),
            json!({ "tickets": [{ "id": 1 }] }),
        ),
        case(
            "stripe",
            "get-account",
            json!({}),
            "GET https://api.stripe.com/v1/account",
            Value::Null,
            json!({ "id": "acct_1", "settings": { "dashboard": { "display_name": "Acme" } }, "country": "DE",
                "default_currency": "eur", "email": "a@b.c", "charges_enabled": true, "payouts_enabled": false }),
            json!({ "id": "acct_1", "name": "Acme", "country": "DE", "currency": "eur", "email": "a@b.c",
                "chargesEnabled": true, "payoutsEnabled": false }),
        ),
    ]
}

const PLACES: [(&str, &str); 11] = [
    ("slack", "https://slack.com/api"),
    ("discord", "https://discord.com/api/v10"),
    ("teams", "https://graph.microsoft.com/v1.0"),
    ("jira", "https://api.atlassian.com/ex/jira/site-1"),
    ("linear", "https://api.linear.app"),
    ("github", "https://api.github.com"),
    ("google-calendar", "https://www.googleapis.com/calendar/v3"),
    ("zoom", "https://api.zoom.us"),
    ("zendesk", "https://acme.zendesk.com"),
    ("sendgrid", "https://api.sendgrid.com"),
    ("stripe", "https://api.stripe.com"),
];

async fn played(preset: &str, action: &str, input: &Value, answers: &[(u16, Value)]) -> Played {
    let spec = catalogue::preset(preset).unwrap();
    let base = PLACES.iter().find(|(name, _)| *name == preset).unwrap().1;
    carry_out(&spec, action, base, input.clone(), answers).await
}

#[tokio::test(start_paused = true)]
async fn each_request_is_what_the_documentation_says() {
    for case in cases() {
        let Played { outcome, requests } = played(case.preset, case.action, &case.input, &[(200, case.answer)]).await;
        let name = format!("{} {}", case.preset, case.action);
        let [(head, body)] = requests.as_slice() else { panic!("{name}: {requests:?}") };
        assert_eq!(head, case.sent, "{name}");
        assert_eq!(*body, case.body, "{name}");
        assert_eq!(outcome.unwrap_or_else(|error| panic!("{name}: {error}")).result, case.result, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn discord_proves_whose_a_channel_is() {
    let input = json!({ "channel": "10", "thread": "11", "text": "hi" });
    let ours = (200, json!({ "id": "11", "guild_id": "G1" }));
    let message = (200, json!({ "id": "m1", "channel_id": "11" }));
    let Played { outcome, requests } = played("discord", "send-message", &input, &[ours, message]).await;
    assert_eq!(outcome.unwrap().result, json!({ "id": "m1", "channel": "11", "guild": "G1" }));
    assert_eq!(requests[0].0, "GET https://discord.com/api/v10/channels/11");
    assert_eq!(requests[1].0, "POST https://discord.com/api/v10/channels/11/messages");
    let expected =
        json!({ "content": "hi", "allowed_mentions": { "parse": [] }, "enforce_nonce": true, "nonce": "key-1" });
    assert_eq!(requests[1].1, expected);
    for channel in ["10", "999999999999"] {
        let theirs = (200, json!({ "id": channel, "guild_id": "G2" }));
        let input = json!({ "channel": channel, "text": "hi" });
        let Played { outcome, requests } = played("discord", "send-message", &input, &[theirs]).await;
        assert!(matches!(outcome, Err(super::Failure::NotOurs)));
        assert_eq!(requests.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_mail_is_queued() {
    let input =
        json!({ "from": { "email": "a@b.c" }, "to": [{ "email": "d@e.f" }], "subject": "Disk", "text": "Full" });
    let Played { outcome, requests } = played("sendgrid", "send-mail", &input, &[(202, Value::Null)]).await;
    assert_eq!(outcome.unwrap().result, json!({ "status": "queued" }));
    assert_eq!(requests[0].0, "POST https://api.sendgrid.com/v3/mail/send");
    let expected = json!({
        "personalizations": [{ "to": [{ "email": "d@e.f" }] }], "from": { "email": "a@b.c" }, "subject": "Disk",
        "content": [{ "type": "text/plain", "value": "Full" }],
    });
    assert_eq!(requests[0].1, expected);
}

/// Each app with a chat has the action that `messages` means, and every schema takes an object and nothing that it does not
/// name.
#[test]
fn schemas_are_closed() {
    for entry in catalogue::entries() {
        for action in &entry.spec.actions {
            if let Some(input) = &action.input {
                assert_eq!(input["additionalProperties"], json!(false), "{} {}", entry.name, action.name);
            }
        }
    }
    for chat in ["slack", "discord", "teams"] {
        let spec = catalogue::preset(chat).unwrap();
        assert!(spec.actions.iter().any(|action| action.name == "send-message"), "{chat}");
    }
}
