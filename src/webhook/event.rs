//! What is handed on: a `CloudEvent` (1.0, binary mode of its HTTP binding) that is signed by Standard Webhooks.

use std::fmt::Write as _;

use axum::body::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use jiff::Timestamp;
use ring::hmac;

use super::key::Key;
use crate::api::ProjectIntegrationSpec;

/// What stands before the type and the word of what happened: our API group, turned around.
const PREFIX: &str = "dev.tms.integrations";
/// The longest attribute, in bytes.
const LONGEST: usize = 256;

/// An event.
#[derive(Clone, Debug)]
pub struct Event {
    /// Tells it from all others: the app's own id of the delivery and the uid of the integration, so that it stays the same
    /// when the app sends it again.
    pub id: String,
    /// What happened, in the app's words.
    pub happened: String,
    /// When it was sent.
    pub time: Timestamp,
    /// The media type of `data`.
    pub content_type: Option<HeaderValue>,
    /// What the app sent, byte by byte.
    pub data: Bytes,
}

impl Event {
    /// The headers: context attributes (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md>)
    /// and the signature (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).
    pub fn headers(&self, spec: &ProjectIntegrationSpec, uid: &str, key: Option<&Key>, now: Timestamp) -> HeaderMap {
        let (tenant, project, type_) = (&spec.tenant_id, &spec.project_id, &spec.type_);
        let mut headers = HeaderMap::new();
        let mut put = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(&encoded(value)) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        put("ce-specversion", "1.0");
        put("ce-id", &self.id);
        put("ce-source", &format!("/tenants/{tenant}/projects/{project}/integrations/{type_}"));
        put("ce-type", &format!("{PREFIX}.{type_}.{}", self.happened));
        put("ce-time", &self.time.to_string());
        put("ce-tenantid", tenant);
        put("ce-projectid", project);
        put("ce-integrationtype", type_);
        put("ce-integrationuid", uid);
        if let Some(key) = key {
            let (id, seconds) = (encoded(&self.id), now.as_second());
            put("webhook-id", &self.id);
            put("webhook-timestamp", &seconds.to_string());
            put("webhook-signature", &signature(key, &id, seconds, &self.data));
        }
        headers.extend(self.content_type.clone().map(|value| (CONTENT_TYPE, value)));
        headers
    }
}

/// The signature of Standard Webhooks.
fn signature(key: &Key, id: &str, seconds: i64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key.bytes()));
    context.update(format!("{id}.{seconds}.").as_bytes());
    context.update(body);
    format!("v1,{}", STANDARD.encode(context.sign()))
}

/// A value as the HTTP binding wants it (§3.1.3.2): what is no printable ASCII, and `"` and `%`, in percent-encoding.
fn encoded(value: &str) -> String {
    let mut text = String::new();
    for character in value.chars() {
        if text.len() >= LONGEST {
            break;
        }
        if matches!(character, '!'..='~') && !matches!(character, '"' | '%') {
            text.push(character);
            continue;
        }
        for byte in character.encode_utf8(&mut [0; 4]).bytes() {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::resolved::tests::resolved;
    use crate::provider::webhook::WebhookRules;
    use crate::sensitive::Sensitive;
    use crate::webhook::incoming::Incoming;
    use crate::webhook::verify::{Keys, verify};

    fn rules() -> WebhookRules {
        let spec = serde_json::json!({ "displayName": "x", "webhooks": { "scheme": "StandardWebhooks" } });
        let spec: crate::api::provider::ProviderSpec = serde_json::from_value(spec).unwrap();
        std::sync::Arc::unwrap_or_clone(resolved(&spec).webhooks.unwrap())
    }

    #[test]
    fn a_receiver_can_verify_it_and_read_it() {
        let rules = rules();
        let key = Key::decode(&Sensitive::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), &rules.scheme).unwrap();
        let event = Event {
            id: "Ev 1:uid".to_owned(),
            happened: "app_mention".to_owned(),
            time: Timestamp::UNIX_EPOCH,
            content_type: Some(HeaderValue::from_static("application/json")),
            data: Bytes::from_static(b"{\"a\": 1}"),
        };
        let spec = ProjectIntegrationSpec {
            tenant_id: "acme".into(),
            project_id: "web".into(),
            type_: "slack".into(),
            ..ProjectIntegrationSpec::default()
        };
        let now = Timestamp::now();
        let headers = event.headers(&spec, "uid", Some(&key), now);
        assert_eq!(headers["ce-id"], "Ev%201:uid");
        assert_eq!(headers["ce-type"], "dev.tms.integrations.slack.app_mention");
        assert_eq!(headers["ce-source"], "/tenants/acme/projects/web/integrations/slack");
        let incoming = Incoming { headers: &headers, query: "", body: &event.data };
        let keys = Keys { keys: std::slice::from_ref(&key), ..Keys::default() };
        assert!(verify(&rules, incoming, keys, now).is_ok());
        let forged = Incoming { body: b"{\"a\": 2}", ..incoming };
        assert!(verify(&rules, forged, keys, now).is_err());
        assert!(!event.headers(&spec, "uid", None, now).contains_key("webhook-signature"));
    }
}
