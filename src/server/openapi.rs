//! The HTTP API as an `OpenAPI` 3.1 document, from the types that the handlers read and write.
//!
//! It is served at `/openapi.json`, and checked in as `docs/openapi.json`. The routes of [`super`] and the paths here are
//! compared by a test.

use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use super::{actions, confirm, credentials, error, install, integrations, providers, token, view};

const INTEGRATIONS: &str = "/v1/tenants/{tenant}/projects/{project}/integrations";
const PUBLIC: &str = "/api/public/integrations/{type}";
const OF_TENANT: &str = "/api/public/tenants/{tenant}/integrations/{type}";

/// The document.
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut book = Book { answers: settings.clone().for_serialize().into_generator(), paths: Map::new() };
    let mut requests = settings.for_deserialize().into_generator();
    book.callers(&mut requests);
    book.browsers();
    let Book { mut answers, paths } = book;
    let mut schemas = answers.take_definitions(true);
    schemas.extend(requests.take_definitions(true));
    schemas.sort_keys();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "integration-operator",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Connects projects to third-party apps and acts through the connections.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "bearer": {
                "type": "http", "scheme": "bearer",
                "description": "A Kubernetes token for the audience of --api-audience",
            } },
        },
    })
}

struct Book {
    answers: SchemaGenerator,
    paths: Map<String, Value>,
}

/// One operation; what it answers beside its success is an `Error`.
struct Operation {
    id: &'static str,
    summary: &'static str,
    query: Vec<Value>,
    body: Option<Schema>,
    success: Vec<(&'static str, Option<Schema>)>,
}

impl Operation {
    /// What it answers with a body.
    fn gives(mut self, status: &'static str, schema: Schema) -> Self {
        self.success.push((status, Some(schema)));
        self
    }

    /// What it answers without one.
    fn answers(mut self, status: &'static str) -> Self {
        self.success.push((status, None));
        self
    }

    const fn new(id: &'static str, summary: &'static str) -> Self {
        Self { id, summary, query: vec![], body: None, success: vec![] }
    }

    fn takes(mut self, body: Schema) -> Self {
        self.body = Some(body);
        self
    }

    fn query(mut self, name: &str, description: &str) -> Self {
        self.query.push(json!({
            "name": name, "in": "query", "description": description, "schema": { "type": "string" },
        }));
        self
    }

    fn header(mut self, name: &str, description: &str) -> Self {
        self.query.push(json!({
            "name": name, "in": "header", "description": description,
            "schema": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$" },
        }));
        self
    }
}

impl Book {
    fn answer<T: JsonSchema>(&mut self) -> Schema {
        self.answers.subschema_for::<T>()
    }

    fn add(&mut self, path: &str, method: &str, operation: Operation) {
        let Operation { id, summary, query, body, success } = operation;
        let error = self.answers.subschema_for::<error::Body<'_>>();
        let callers = path.starts_with("/v1/");
        let json_content = |schema: &Schema| json!({ "application/json": { "schema": schema } });
        let mut responses = Map::new();
        for (status, schema) in success {
            let mut response = json!({ "description": "It is done" });
            if let Some(schema) = schema {
                response["content"] = json_content(&schema);
            }
            if status == "303" {
                response["headers"] = header("Location", "Where to go on");
            }
            responses.insert(status.to_owned(), response);
        }
        let mut refused = json!({ "description": "It is not done", "content": json_content(&error) });
        if !callers {
            refused["content"]["text/html"] = json!({ "schema": { "type": "string" } });
        }
        for (status, name, description) in [
            ("401", "WWW-Authenticate", "How to prove who one is (RFC 6750 §3)"),
            ("429", "Retry-After", "For how many seconds nothing more is taken"),
        ] {
            if callers || status == "429" {
                let mut with = refused.clone();
                with["headers"] = header(name, description);
                responses.insert(status.to_owned(), with);
            }
        }
        responses.insert("default".to_owned(), refused);
        let mut described = json!({
            "operationId": id, "summary": summary, "parameters": query, "responses": responses,
        });
        if callers {
            described["security"] = json!([{ "bearer": [] }]);
        }
        if let Some(body) = &body {
            described["requestBody"] = json!({ "required": true, "content": json_content(body) });
        }
        let item = self.paths.entry(path).or_insert_with(|| {
            let places: Vec<Value> = path.split('/').filter_map(place).collect();
            if places.is_empty() { json!({}) } else { json!({ "parameters": places }) }
        });
        item[method] = described;
    }

    fn callers(&mut self, requests: &mut SchemaGenerator) {
        let all = self.answer::<providers::Listing>();
        self.add("/v1/providers", "get", Operation::new("listProviders", "List the apps").gives("200", all));
        let all = self.answer::<integrations::Listing>();
        self.add(INTEGRATIONS, "get", Operation::new("listIntegrations", "List a project's").gives("200", all));

        let one = format!("{INTEGRATIONS}/{{type}}");
        let view = self.answer::<view::View>();
        self.add(&one, "get", Operation::new("getIntegration", "Read one").gives("200", view.clone()));
        let delete = Operation::new("deleteIntegration", "Disconnect and delete").answers("202");
        self.add(&one, "delete", delete.answers("204"));

        let link = self.answer::<install::Installed<'_>>();
        let install = Operation::new("install", "Get a link to connect with; values of the form are param.NAME")
            .query("agent_id", "The person of the product on whose behalf it is connected")
            .query("return_to", "The frontend to return to")
            .gives("200", link);
        self.add(&format!("{one}/install"), "get", install);
        let confirmed = self.answer::<confirm::Confirmed>();
        let confirm = Operation::new("confirm", "Confirm a connection").gives("200", confirmed);
        self.add(&format!("{one}/confirm"), "post", confirm.takes(requests.subschema_for::<confirm::Yes>()));
        let requested = self.answer::<integrations::Requested>();
        let refresh = Operation::new("refresh", "Ask for a refresh, at most once a minute").gives("202", requested);
        self.add(&format!("{one}/refresh"), "post", refresh);
        let credentials = Operation::new("putCredentials", "Give an API key").gives("200", view);
        let given = requests.subschema_for::<credentials::Given>();
        self.add(&format!("{one}/credentials"), "put", credentials.takes(given));

        let token = self.answer::<token::Given<'_>>();
        self.add(&format!("{one}/token"), "get", Operation::new("getToken", "Read the token").gives("200", token));
        let input: Schema = schemars::json_schema!({ "type": "object" });
        let outcome = self.answer::<actions::Outcome<'_>>();
        let key = "Tells a repeated request from a new one, where the app can";
        let message = Operation::new("postMessage", "Post a message; the schema is that of the action send-message")
            .header("Idempotency-Key", key)
            .takes(input.clone())
            .gives("200", outcome.clone());
        self.add(&format!("{one}/messages"), "post", message);
        let listed = self.answer::<actions::Listing>();
        let list = Operation::new("listActions", "List what can be done, with schemas").gives("200", listed);
        self.add(&format!("{one}/actions"), "get", list);
        let act = Operation::new("act", "Do it").header("Idempotency-Key", key).takes(input).gives("200", outcome);
        self.add(&format!("{one}/actions/{{action}}"), "post", act);
        for method in ["get", "head", "post", "put", "patch", "delete"] {
            let mut pass = Operation::new(method, "Call the app's API; the answer is the app's own");
            pass.id = match method {
                "get" => "proxyGet",
                "head" => "proxyHead",
                "post" => "proxyPost",
                "put" => "proxyPut",
                "patch" => "proxyPatch",
                _ => "proxyDelete",
            };
            let path = format!("{one}/proxy/{{path}}");
            self.add(&path, method, pass);
            // Whatever the app answers, in whatever form and with whatever headers; perhaps without a body, which has no type.
            // Its own 401 is never passed on.
            let responses = &mut self.paths[&path][method]["responses"];
            responses["default"] = json!({ "description": "The app's answer, or an Error" });
            responses.as_object_mut().map(|responses| responses.remove("429"));
        }
    }

    /// Where an app sends what it has to say. The answer may be the receiver's.
    fn webhook(&mut self, path: &str, id: &'static str, summary: &'static str) {
        self.add(path, "post", Operation::new(id, summary).answers("2XX"));
        let body = json!({ "content": { "*/*": { "schema": {} } }, "required": false });
        self.paths[path]["post"]["requestBody"] = body;
    }

    fn browsers(&mut self) {
        for (place, of) in [(PUBLIC, "cluster"), (OF_TENANT, "tenant")] {
            let id = |cluster: &'static str, tenant: &'static str| if of == "cluster" { cluster } else { tenant };
            let ticket = "What the link of install holds";
            let start = Operation::new(id("start", "startOfTenant"), "Go on to the app, or ask first");
            let start = start.query("ticket", ticket).answers("200").answers("303");
            self.add(&format!("{place}/start"), "get", start);
            let click = Operation::new(id("click", "clickOfTenant"), "The click on that page").answers("303");
            self.add(&format!("{place}/start"), "post", click);
            let callback = Operation::new(id("callback", "callbackOfTenant"), "Where the app sends the browser back")
                .query("code", "RFC 6749 §4.1.2")
                .query("state", "RFC 6749 §4.1.2")
                .query("error", "RFC 6749 §4.1.2.1");
            self.add(&format!("{place}/callback"), "get", callback.answers("200").answers("303"));
            self.webhook(
                &format!("{place}/webhook"),
                id("webhook", "webhookOfTenant"),
                "For all connections of the app",
            );
        }
        let own = "/api/public/tenants/{tenant}/projects/{project}/integrations/{type}/webhook";
        self.webhook(own, "webhookOfIntegration", "For one integration");
        let itself = Operation::new("openapi", "This document");
        let any: Schema = schemars::json_schema!({ "type": "object" });
        self.add("/openapi.json", "get", itself.gives("200", any));
    }
}

/// A header that an answer always has.
fn header(name: &str, description: &str) -> Value {
    json!({ name: { "description": description, "required": true, "schema": { "type": "string" } } })
}

/// A place of a path, as a parameter.
fn place(segment: &str) -> Option<Value> {
    let name = segment.strip_prefix('{')?.strip_suffix('}')?;
    let label = json!({ "type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$" });
    let schema = match name {
        "path" => json!({ "type": "string", "minLength": 1 }),
        "action" => json!({ "type": "string", "minLength": 1, "maxLength": 63 }),
        _ => label,
    };
    Some(json!({ "name": name, "in": "path", "required": true, "schema": schema }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use regex::Regex;

    use super::*;

    /// The routes as they stand in the source, with the places in which they are nested.
    #[test]
    fn every_route_is_in_the_document_and_nothing_else() {
        let source = include_str!("mod.rs");
        let route = Regex::new(r#"\.route\("([^"]+)""#).unwrap();
        let section = |from: &str| {
            let text = source.split(from).nth(1).unwrap().split("\n}").next().unwrap();
            route.captures_iter(text).map(|found| found[1].replace("{*path}", "{path}")).collect::<Vec<_>>()
        };
        let below = |base: &str, routes: Vec<String>| {
            routes.into_iter().map(|route| format!("{base}{}", route.trim_end_matches('/'))).collect::<Vec<_>>()
        };
        let public = section("fn public() -> Router<Shared> {");
        let routes: BTreeSet<String> = section("fn routes() -> Router<Shared> {")
            .into_iter()
            .chain(below(INTEGRATIONS, section("fn project() -> Router<Shared> {")))
            .chain(below(PUBLIC, public.clone()))
            .chain(below(OF_TENANT, public))
            .collect();
        let document = document();
        let told: BTreeSet<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(told, routes);
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let text = document.to_string();
        let reference = Regex::new(r##""\$ref":"#([^"]+)""##).unwrap();
        let references: BTreeSet<&str> =
            reference.captures_iter(&text).map(|found| found.get(1).unwrap().as_str()).collect();
        assert!(references.len() > 10, "{references:?}");
        for reference in references {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
    }
}
