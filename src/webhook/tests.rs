//! The vectors that providers publish, and that nothing else passes: one byte changed anywhere is refused.

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::{SignedDuration, Timestamp};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::handshake;
use super::incoming::Incoming;
use super::jwt::{Jwk, TokenError};
use super::key::{BASE64, Key, KeyError};
use super::verify::{Distrust, Keys, verify};
use crate::digest::hex;
use crate::provider::catalogue::preset;
use crate::provider::resolved::tests::resolved;
use crate::provider::webhook::WebhookRules;
use crate::sensitive::Sensitive;
use base64::Engine as _;

/// A request that is proved.
#[derive(Clone)]
struct Case {
    name: &'static str,
    rules: std::sync::Arc<WebhookRules>,
    secrets: Vec<Vec<u8>>,
    headers: HeaderMap,
    body: Vec<u8>,
    now: Timestamp,
}

impl Case {
    fn new(name: &'static str, webhooks: &Value, secret: &str, headers: &[(&'static str, &str)], body: &[u8]) -> Self {
        let spec = json!({
            "oauth2": { "authorizationURL": "https://app.example/a", "tokenURL": "https://app.example/t" },
            "metadata": { "team": "response.team.id" }, "webhooks": webhooks,
        });
        let rules = resolved(&serde_json::from_value(spec).unwrap()).webhooks.unwrap();
        Self::of(name, rules, secret, headers, body)
    }

    fn preset(name: &'static str, secret: &str, headers: &[(&'static str, &str)], body: &[u8]) -> Self {
        let rules = preset(name).unwrap().webhooks.unwrap();
        // The endpoints of the app are another matter.
        let mut rules = serde_json::to_value(rules).unwrap();
        rules["routes"] = json!([]);
        Self::new(name, &rules, secret, headers, body)
    }

    fn of(
        name: &'static str,
        rules: std::sync::Arc<WebhookRules>,
        secret: &str,
        headers: &[(&'static str, &str)],
        body: &[u8],
    ) -> Self {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap()))
            .collect();
        let secrets = vec![secret.as_bytes().to_vec()];
        Self { name, rules, secrets, headers, body: body.to_vec(), now: Timestamp::now() }
    }

    fn at(self, now: Timestamp) -> Self {
        Self { now, ..self }
    }

    fn keys(&self) -> Vec<Key> {
        let text = |secret: &Vec<u8>| Sensitive::new(String::from_utf8_lossy(secret).into_owned());
        self.secrets.iter().filter_map(|secret| Key::decode(&text(secret), &self.rules.scheme).ok()).collect()
    }

    fn check(&self) -> Result<Option<Timestamp>, Distrust> {
        let keys = self.keys();
        let keys = Keys { keys: &keys, ..Keys::default() };
        let incoming = Incoming { headers: &self.headers, query: "", body: &self.body };
        verify(&self.rules, incoming, keys, self.now)
    }

    fn header(&mut self, name: &str) -> Option<Vec<u8>> {
        self.headers.get(name).map(|value| value.as_bytes().to_vec())
    }

    fn set(&mut self, name: &str, value: &[u8]) -> bool {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        HeaderValue::from_bytes(value).map(|value| self.headers.insert(name, value)).is_ok()
    }
}

fn vectors() -> Vec<Case> {
    let second = |second| Timestamp::from_second(second).unwrap();
    let slack = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let sendgrid = "[{\"email\":\"hello@world.com\",\"event\":\"dropped\",\"reason\":\"Bounced Address\",\"sg_event_id\":\"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA\",\"sg_message_id\":\"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0\",\"smtp-id\":\"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>\",\"timestamp\":1600112492}]\r\n";
    let standard = json!({ "scheme": "StandardWebhooks" });
    // Published in an older order, body first: it proves that the key is not decoded.
    let zendesk = json!({
        "signature": {
            "algorithm": "HmacSha256", "header": "x-zendesk-webhook-signature", "encoding": "Base64",
            "signed": "{body}{timestamp}",
        },
        "timestamp": { "header": "x-zendesk-webhook-signature-timestamp", "unit": "Rfc3339" },
    });
    vec![
        Case::preset(
            "slack",
            "8f742231b10e8888abcd99yyyzzz85a5",
            &[
                ("x-slack-request-timestamp", "1531420618"),
                ("x-slack-signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
            ],
            slack.as_bytes(),
        )
        .at(second(1_531_420_618)),
        Case::preset(
            "github",
            "It's a Secret to Everybody",
            &[("x-hub-signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17")],
            b"Hello, World!",
        ),
        Case::preset(
            "jira",
            "It's a Secret to Everybody",
            &[("x-hub-signature", "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9")],
            b"Hello World!",
        ),
        Case::new(
            "standard webhooks",
            &standard,
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            &[
                ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
                ("webhook-timestamp", "1614265330"),
                ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
            ],
            b"{\"test\": 2432232314}",
        )
        .at(second(1_614_265_330)),
        Case::preset(
            "sendgrid",
            "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==",
            &[
                ("x-twilio-email-event-webhook-timestamp", "1600112502"),
                (
                    "x-twilio-email-event-webhook-signature",
                    "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM=",
                ),
            ],
            sendgrid.as_bytes(),
        ),
        Case::preset(
            "teams",
            "vqF0En+Z0ucuRTM/01o2GuhMH3hKKk/N2bOmlM31zaA=",
            &[("authorization", "HMAC 03TCao0i55H1eVKUusZOTZRjtvYTs+mO41mPL+R1e1U=")],
            include_bytes!("tests/teams-outgoing-webhook-body.json"),
        ),
        Case::new(
            "zendesk, as it was",
            &zendesk,
            "HRkRd4BeOAoUkfZr-mhauJT64rvBASlJRoIyPsd3zeA=",
            &[
                ("x-zendesk-webhook-signature-timestamp", "2021-07-25T10:00:00Z"),
                ("x-zendesk-webhook-signature", "tRDSF7URY8BLCDlaBcQ7FHu051Zk+aAB0NKMP53teMw="),
            ],
            b"{\"say\": \"hello\"}",
        ),
    ]
}

fn tag(algorithm: hmac::Algorithm, key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(algorithm, key), message).as_ref().to_vec()
}

/// Of the schemes without a published vector, requests that were signed here.
fn made() -> Vec<Case> {
    let now = Timestamp::from_second(1_700_000_000).unwrap();
    let body = br#"{"type":"invoice.paid","id":"evt_1","webhookTimestamp":1700000000000}"#;
    let text = std::str::from_utf8(body).unwrap();
    let stripe = hex(&tag(hmac::HMAC_SHA256, b"whsec_test_secret", format!("1700000000.{text}").as_bytes()));
    let zoom = hex(&tag(hmac::HMAC_SHA256, b"zoom-secret", format!("v0:1700000000:{text}").as_bytes()));
    let zendesk =
        BASE64.encode(tag(hmac::HMAC_SHA256, b"zendesk-secret", format!("2023-11-14T22:13:20Z{text}").as_bytes()));
    let old = json!({ "signature": { "algorithm": "HmacSha1", "header": "x-hub-signature", "prefix": "sha1=" } });
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let public = pair.public_key().as_ref().to_vec();
    let discord = hex(pair.sign(format!("1700000000{text}").as_bytes()).as_ref());
    let standard = BASE64.encode(pair.sign(format!("msg_1.1700000000.{text}").as_bytes()));
    [
        Case::preset(
            "stripe",
            "whsec_test_secret",
            &[("stripe-signature", &format!("t=1700000000,v1={stripe},v0=6ffbb59b2300aae63f272406069a9788"))],
            body,
        ),
        Case::preset(
            "zoom",
            "zoom-secret",
            &[("x-zm-request-timestamp", "1700000000"), ("x-zm-signature", &format!("v0={zoom}"))],
            body,
        ),
        Case::preset(
            "linear",
            "linear-secret",
            &[("linear-signature", &hex(&tag(hmac::HMAC_SHA256, b"linear-secret", body)))],
            body,
        ),
        Case::preset(
            "zendesk",
            "zendesk-secret",
            &[
                ("x-zendesk-webhook-signature-timestamp", "2023-11-14T22:13:20Z"),
                ("x-zendesk-webhook-signature", &zendesk),
            ],
            body,
        ),
        Case::preset(
            "discord",
            &hex(&public),
            &[("x-signature-timestamp", "1700000000"), ("x-signature-ed25519", &discord)],
            body,
        ),
        Case::new(
            "standard webhooks, public key",
            &json!({ "scheme": "StandardWebhooksPublicKey" }),
            &format!("whpk_{}", BASE64.encode(&public)),
            &[
                ("webhook-id", "msg_1"),
                ("webhook-timestamp", "1700000000"),
                ("webhook-signature", &format!("v1,bm90aGluZw== v1a,{standard}")),
            ],
            body,
        ),
        Case::new(
            "sha1",
            &old,
            "old-secret",
            &[(
                "x-hub-signature",
                &format!("sha1={}", hex(&tag(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"old-secret", body))),
            )],
            body,
        ),
    ]
    .map(|case| case.at(now))
    .to_vec()
}

#[test]
fn published_vectors_are_proved() {
    for case in vectors().iter().chain(&made()) {
        assert!(case.check().is_ok(), "{}: {:?}", case.name, case.check());
    }
}

#[test]
fn a_byte_changed_anywhere_is_refused() {
    for mut case in vectors().into_iter().chain(made()) {
        let whole = case.clone();
        for index in 0..case.body.len() {
            for bit in [0x01, 0x80] {
                case.body[index] ^= bit;
                assert!(case.check().is_err(), "{}: byte {index} of the body", case.name);
                case.body[index] ^= bit;
            }
        }
        case.body.push(b' ');
        assert!(case.check().is_err(), "{}: a longer body", case.name);
        case.body = whole.body[1..].to_vec();
        assert!(case.check().is_err(), "{}: a shorter body", case.name);
        case.body.clone_from(&whole.body);
        for name in whole.headers.keys() {
            let value = case.header(name.as_str()).unwrap();
            for index in 0..value.len() {
                let mut changed = value.clone();
                changed[index] ^= 0x01;
                // Entries of other names, and whatever is a second signature, prove nothing either way.
                let spare = is_spare(&whole, &value, index);
                if case.set(name.as_str(), &changed) && !spare {
                    assert!(!believes(&case, &whole), "{}: byte {index} of {name}", case.name);
                }
            }
            case.set(name.as_str(), &value);
        }
        for index in 0..whole.secrets[0].len() {
            case.secrets[0][index] ^= 0x01;
            assert!(!believes(&case, &whole), "{}: byte {index} of the key", case.name);
            case.secrets.clone_from(&whole.secrets);
        }
        assert!(case.check().is_ok(), "{}", case.name);
    }
}

/// Whether a changed request is believed that says something else than the whole one. Base64 has bits that say nothing.
fn believes(case: &Case, whole: &Case) -> bool {
    let same_key = case.keys().first().map(|key| key.0.to_vec()) == whole.keys().first().map(|key| key.0.to_vec());
    let decoded = |case: &Case| {
        let values = case.headers.values().map(|value| {
            let text = value.to_str().unwrap_or_default();
            let last = text.rsplit([' ', ',', '=']).find(|part| part.len() > 20).unwrap_or(text);
            BASE64.decode(last).unwrap_or_else(|_| text.as_bytes().to_vec())
        });
        values.collect::<Vec<_>>()
    };
    case.check().is_ok() && !(same_key && decoded(case) == decoded(whole))
}

fn is_spare(case: &Case, value: &[u8], index: usize) -> bool {
    let Some(list) = &case.rules.scheme.list else { return false };
    let text = String::from_utf8_lossy(value).into_owned();
    let start = text[..index].rfind(list.separator).map_or(0, |at| at + 1);
    let entry = text[start..].split(list.separator).next().unwrap_or_default();
    let name = entry.split(list.assignment).next().unwrap_or_default();
    text.contains(list.separator) && name != list.name && name != "t"
}

#[test]
fn headers_that_are_missing_empty_or_there_twice_are_refused() {
    for case in vectors().into_iter().chain(made()) {
        for name in case.headers.keys() {
            let mut without = case.clone();
            without.headers.remove(name);
            assert!(without.check().is_err(), "{}: without {name}", case.name);
            without.headers.insert(name.clone(), HeaderValue::from_static(""));
            assert!(without.check().is_err(), "{}: with an empty {name}", case.name);
            let mut twice = case.clone();
            twice.headers.append(name.clone(), case.headers[name].clone());
            assert!(twice.check().is_err(), "{}: with two of {name}", case.name);
        }
        let mut nothing = case.clone();
        nothing.secrets.clear();
        assert_eq!(nothing.check(), Err(Distrust::NoKey), "{}", case.name);
        let mut another = case.clone();
        another.secrets = vec![b"another secret of nobody".to_vec()];
        assert!(another.check().is_err(), "{}", case.name);
    }
}

#[test]
fn two_secrets_live_while_one_replaces_the_other() {
    for case in vectors().into_iter().chain(made()) {
        let Some(mut other) = case.secrets.first().cloned() else { continue };
        if case.keys().len() == 1 && case.rules.scheme.key_encoding == crate::api::provider::KeyEncoding::Text {
            other.reverse();
            for secrets in [[case.secrets[0].clone(), other.clone()], [other.clone(), case.secrets[0].clone()]] {
                assert!(Case { secrets: secrets.to_vec(), ..case.clone() }.check().is_ok(), "{}", case.name);
            }
        }
    }
}

#[test]
fn the_time_has_a_window() {
    for case in vectors().into_iter().chain(made()) {
        let Some(tolerance) = case.rules.scheme.time.as_ref().and_then(|time| time.tolerance) else { continue };
        let second = SignedDuration::from_secs(1);
        for (off, good) in
            [(tolerance, true), (-tolerance, true), (tolerance + second, false), (-tolerance - second, false)]
        {
            let moved = case.clone().at(case.now + off);
            let found = moved.check();
            assert_eq!(found.is_ok(), good, "{} {off:?}: {found:?}", case.name);
            assert!(good || matches!(found, Err(Distrust::Untimely { .. })), "{found:?}");
        }
    }
}

#[test]
fn a_body_that_was_written_again_is_refused() {
    let case = vectors().into_iter().find(|case| case.name == "standard webhooks").unwrap();
    let value: Value = serde_json::from_slice(&case.body).unwrap();
    assert_eq!(Case { body: value.to_string().into_bytes(), ..case }.check(), Err(Distrust::Wrong));
}

#[test]
fn one_of_several_signatures_is_enough_and_there_is_a_limit() {
    let case = made().into_iter().find(|case| case.name == "stripe").unwrap();
    let text = case.headers["stripe-signature"].to_str().unwrap().to_owned();
    let (time, right) = text.split_once(",v1=").unwrap();
    let with = |header: String| {
        let mut case = case.clone();
        case.set("stripe-signature", header.as_bytes());
        case.check()
    };
    let wrong = "v1=".to_owned() + &"0".repeat(64);
    assert!(with(format!("{time},{wrong},v1={right}")).is_ok());
    assert!(with(format!("{time},{wrong},{wrong}")).is_err());
    assert!(with(format!("{time}{},v1={right}", format!(",{wrong}").repeat(8))).is_err());
    assert!(with(format!("{time},t=1600000000,v1={right}")).is_err());
}

#[test]
fn what_is_equal_must_be_so_everywhere() {
    let webhooks = json!({ "signature": { "algorithm": "Equality", "bodyPointer": "/value/*/clientState" } });
    let check = |body: Value| {
        Case::new("graph", &webhooks, "client-state-1", &[], body.to_string().as_bytes()).check().map(|_| ())
    };
    let one = |state: &str| json!({ "id": 1, "clientState": state });
    assert_eq!(check(json!({ "value": [one("client-state-1"), one("client-state-1")] })), Ok(()));
    assert_eq!(check(json!({ "value": [one("client-state-1"), one("client-state-2")] })), Err(Distrust::Wrong));
    assert_eq!(check(json!({ "value": [one("client-state-1"), { "id": 2 }] })), Err(Distrust::Unsigned));
    assert_eq!(check(json!({ "value": [] })), Err(Distrust::Unsigned));
    assert_eq!(check(json!({ "value": [one("")] })), Err(Distrust::Unsigned));
    let google =
        |token: &str| Case::preset("google-calendar", "channel-token", &[("x-goog-channel-token", token)], b"");
    assert!(google("channel-token").check().is_ok());
    assert_eq!(google("channel-tokem").check(), Err(Distrust::Wrong));
    assert_eq!(google("channel-toke").check(), Err(Distrust::Wrong));
}

/// A token as an issuer makes it, with the key that it is proved by.
fn token(claims: &Value, algorithm: &str) -> (String, Jwk) {
    let url = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let head = json!({ "alg": algorithm, "kid": "k1" });
    let message = format!("{}.{}", url.encode(head.to_string()), url.encode(claims.to_string()));
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
    let signature = pair.sign(&random, message.as_bytes()).unwrap();
    let point = pair.public_key().as_ref();
    let jwk = Jwk {
        kty: "EC".to_owned(),
        kid: Some("k1".to_owned()),
        crv: "P-256".to_owned(),
        x: url.encode(&point[1..33]),
        y: url.encode(&point[33..]),
        ..Jwk::default()
    };
    (format!("{message}.{}", url.encode(signature)), jwk)
}

#[test]
fn tokens_are_proved_by_their_issuer() {
    let webhooks = json!({ "signature": {
        "algorithm": "Jwt", "header": "Authorization", "prefix": "Bearer ",
        "jwt": {
            "issuer": "https://api.botframework.com", "jwksURL": "https://login.botframework.com/keys",
            "claims": { "serviceurl": "request.body.serviceUrl" },
        },
    }});
    let now = Timestamp::from_second(1_700_000_000).unwrap();
    let good = json!({
        "iss": "https://api.botframework.com", "aud": "client-1", "exp": 1_700_000_300,
        "serviceurl": "https://smba.example/",
    });
    let body = br#"{"serviceUrl":"https://smba.example/"}"#;
    let check = |claims: &Value, body: &[u8], break_it: &dyn Fn(&mut String, &mut Jwk)| {
        let (mut token, mut jwk) = token(claims, "ES256");
        break_it(&mut token, &mut jwk);
        let case = Case::new("bot", &webhooks, "", &[("authorization", &format!("Bearer {token}"))], body).at(now);
        let keys = Keys { issuer: &[jwk], audience: Some("client-1"), ..Keys::default() };
        let incoming = Incoming { headers: &case.headers, query: "", body: &case.body };
        verify(&case.rules, incoming, keys, now).map(|_| ())
    };
    let nothing = |_: &mut String, _: &mut Jwk| {};
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    assert_eq!(check(&good, body, &nothing), Ok(()));
    assert_eq!(check(&with("aud", json!(["other", "client-1"])), body, &nothing), Ok(()));
    let refused = |claim| Err(Distrust::Token(TokenError::Claim { claim }));
    assert_eq!(check(&with("aud", json!("client-2")), body, &nothing), refused("aud"));
    assert_eq!(check(&with("aud", Value::Null), body, &nothing), refused("aud"));
    assert_eq!(check(&with("iss", json!("https://evil.example")), body, &nothing), refused("iss"));
    assert_eq!(check(&good, br#"{"serviceUrl":"https://evil.example/"}"#, &nothing), refused("word of the request"));
    let untimely = Err(Distrust::Token(TokenError::Untimely));
    assert_eq!(check(&with("exp", json!(1_699_999_699)), body, &nothing), untimely);
    assert_eq!(check(&with("nbf", json!(1_700_000_301)), body, &nothing), untimely);
    assert_eq!(check(&with("exp", Value::Null), body, &nothing), Err(Distrust::Token(TokenError::Malformed)));
    let other_key = |_: &mut String, jwk: &mut Jwk| jwk.kid = Some("k2".to_owned());
    assert_eq!(check(&good, body, &other_key), Err(Distrust::Token(TokenError::UnknownKey)));
    let unsigned = |token: &mut String, _: &mut Jwk| {
        let url = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        *token = format!("{}.{}.", url.encode(r#"{"alg":"none"}"#), token.split('.').nth(1).unwrap());
    };
    assert_eq!(check(&good, body, &unsigned), Err(Distrust::Token(TokenError::Malformed)));
    let changed = |token: &mut String, _: &mut Jwk| {
        let at = token.rfind('.').unwrap() + 3;
        let other = if &token[at..=at] == "A" { "B" } else { "A" };
        token.replace_range(at..=at, other);
    };
    assert_eq!(check(&good, body, &changed), Err(Distrust::Token(TokenError::Wrong)));
}

#[test]
fn handshakes_are_answered() {
    let answer = |name: &'static str, body: Value, unsigned: bool| {
        let case = Case::preset(
            name,
            "secret-of-the-app",
            &[("content-type", "application/json")],
            body.to_string().as_bytes(),
        );
        let incoming = Incoming { headers: &case.headers, query: "", body: &case.body };
        let variables = incoming.variables(&case.rules);
        let found = handshake::find(&case.rules, unsigned, &variables)?;
        Some(handshake::answer(found, &variables, &case.keys()).unwrap())
    };
    let body = |reply: Option<handshake::Reply>| reply.and_then(|reply| reply.body).map(|(_, text)| text);
    let challenge = json!({ "type": "url_verification", "challenge": "3eZbrw1a" });
    assert_eq!(body(answer("slack", challenge.clone(), false)).as_deref(), Some("3eZbrw1a"));
    assert_eq!(answer("slack", challenge, true), None, "it is signed");
    assert_eq!(body(answer("discord", json!({ "type": 1 }), false)).as_deref(), Some(r#"{"type":1}"#));
    assert_eq!(answer("discord", json!({ "type": 1, "event": {} }), false), None);
    assert_eq!(answer("discord", json!({ "type": 0 }), false).unwrap().status, 204);
    let plain = "qgg8vlvZRS6UYooatFL8Aw";
    let zoom = json!({ "event": "endpoint.url_validation", "payload": { "plainToken": plain } });
    let expected = hex(&tag(hmac::HMAC_SHA256, b"secret-of-the-app", plain.as_bytes()));
    let said: Value = serde_json::from_str(&body(answer("zoom", zoom, false)).unwrap()).unwrap();
    assert_eq!(said, json!({ "plainToken": plain, "encryptedToken": expected }));
}

#[test]
fn keys_must_be_keys() {
    let scheme = |name: &str| {
        let spec = preset(name).unwrap();
        std::sync::Arc::clone(&resolved(&spec).webhooks.unwrap())
    };
    let decode = |name: &str, text: &str| Key::decode(&Sensitive::new(text), &scheme(name).scheme).map(|_| ());
    assert_eq!(decode("slack", "short"), Err(KeyError::Short));
    assert_eq!(decode("slack", ""), Err(KeyError::Short));
    assert_eq!(decode("discord", "zz"), Err(KeyError::Encoding { form: "hexadecimal digits" }));
    assert_eq!(decode("discord", "00ff"), Err(KeyError::Kind));
    assert_eq!(decode("sendgrid", "AAAA"), Err(KeyError::Kind));
    assert_eq!(decode("teams", "!"), Err(KeyError::Encoding { form: "base64" }));
}
