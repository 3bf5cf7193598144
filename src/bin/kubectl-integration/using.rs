//! `post`, `call` and `token`: a connection is used, over the operator's HTTP API.

use std::io::Read as _;

use serde_json::{Map, Value};

use crate::args::{Call, OverHttp, Post, Token};
use crate::cluster::Cluster;
use crate::connect::http::api::Api;
use crate::connect::target::Target;
use crate::connect::token as caller;
use crate::failure::Failure;

/// Posts a message.
pub(crate) async fn post(cluster: &Cluster, args: &Post) -> Result<(), Failure> {
    let mut message = Map::new();
    for (name, value) in [("channel", &args.channel), ("text", &args.text), ("thread", &args.thread)] {
        if let Some(value) = value {
            message.insert(name.to_owned(), Value::String(value.clone()));
        }
    }
    for (name, value) in &args.fields {
        message.insert(name.clone(), json(&format!("--set {name}"), value)?);
    }
    let api = open(cluster, &args.name, &args.http).await?;
    print(&api.call("messages", &Value::Object(message), args.idempotency_key.as_deref()).await?["result"])
}

/// Carries out an action, or lists all.
pub(crate) async fn call(cluster: &Cluster, args: &Call) -> Result<(), Failure> {
    let api = open(cluster, &args.name, &args.http).await?;
    let Some(action) = &args.action else {
        let listing = api.look("actions").await?;
        for action in listing["actions"].as_array().into_iter().flatten() {
            let text = |name: &str| action[name].as_str().unwrap_or_default();
            println!("{:<24} {}", text("name"), text("title"));
        }
        return Ok(());
    };
    if !action.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(Failure::refused(format!("{action} is no name of an action; leave it out to see all")));
    }
    let input = json("--input", &args.input)?;
    let mut answer = api.call(&format!("actions/{action}"), &input, args.idempotency_key.as_deref()).await?;
    if let Some(answer) = answer.as_object_mut() {
        answer.remove("action");
    }
    print(&answer)
}

/// Prints the access token.
pub(crate) async fn token(cluster: &Cluster, args: &Token) -> Result<(), Failure> {
    let api = open(cluster, &args.name, &args.http).await?;
    let token = api.look("token").await?;
    if args.output.is_some() {
        return print(&token);
    }
    println!("{}", token["access_token"].as_str().unwrap_or_default());
    Ok(())
}

async fn open(cluster: &Cluster, name: &str, http: &OverHttp) -> Result<Api, Failure> {
    let server = http.server.as_ref().ok_or_else(|| {
        Failure::refused(
            "this goes over the operator's HTTP API: pass --server or set INTEGRATION_OPERATOR_URL, \
             such as http://127.0.0.1:8080 of a kubectl port-forward",
        )
    })?;
    let target = Target::find(cluster, name, http).await?;
    Api::new(server, caller::find(cluster, http).await?, target)
}

/// JSON as it stands there, or in the file that `@` names.
fn json(option: &str, text: &str) -> Result<Value, Failure> {
    let text = match text.strip_prefix('@') {
        None => text.to_owned(),
        Some("-") => {
            let mut text = String::new();
            let read = std::io::stdin().read_to_string(&mut text);
            read.map_err(|source| Failure::Local { what: "read standard input", source })?;
            text
        }
        Some(path) => std::fs::read_to_string(path)
            .map_err(|source| Failure::Local { what: "read the file of the input", source })?,
    };
    serde_json::from_str(&text).map_err(|error| Failure::refused(format!("{option} is no JSON: {error}")))
}

fn print(value: &Value) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value);
    println!("{}", text.map_err(|error| Failure::refused(format!("the answer cannot be printed: {error}")))?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_given_or_lies_in_a_file() {
        assert!(matches!(json("--input", "{\"a\": 1}"), Ok(value) if value["a"] == 1));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("input.json");
        std::fs::write(&path, "[1]").unwrap();
        assert!(matches!(json("--input", &format!("@{}", path.display())), Ok(value) if value[0] == 1));
        for bad in ["{", "", "@/does/not/exist"] {
            assert!(json("--input", bad).is_err(), "{bad}");
        }
    }
}
