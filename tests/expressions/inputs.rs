//! What expressions are given: small documents, and such as press on one bound each.

use integration_operator::provider::expression::Variables;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

pub fn variables() -> impl Strategy<Value = Variables> {
    (document(), document()).prop_map(|(response, identity)| Variables {
        response,
        identity,
        integration: json!({ "projectId": "web", "a": "b" }),
        parameters: json!({ "subdomain": "acme", "n": "1" }),
        ..Variables::default()
    })
}

fn document() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => small(),
        2 => (0_usize..3000).prop_map(|count| json!({ "items": vec![1; count], "a": count })),
        2 => (0_usize..400).prop_map(|count| json!({ "items": vec!["text of some length"; count], "n": 1 })),
        1 => (0_usize..200).prop_map(|count| json!({ "items": vec![json!({ "id": "x", "a": [1, 2, 3] }); count] })),
        1 => (0_usize..1_100_000).prop_map(|length| json!({ "text": "a".repeat(length), "a": 1 })),
        1 => (0_usize..2000).prop_map(|count| {
            let entries: Map<String, Value> = (0..count).map(|at| (format!("key-{at}"), json!(at))).collect();
            json!({ "a": entries, "items": entries })
        }),
        1 => (0_usize..90).prop_map(|depth| {
            json!({ "a": (0..depth).fold(json!(1), |inner, _| json!([inner])), "items": nested(depth) })
        }),
    ]
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(json!("end"), |inner, _| json!({ "a": inner }))
}

fn small() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,10}".prop_map(Value::from),
        "a{0,40}".prop_map(Value::from),
    ];
    let key = prop::sample::select(vec!["a", "items", "text", "n", "a-b", "x", "very"]);
    leaf.prop_recursive(4, 24, 5, move |inner| {
        let entries = prop::collection::btree_map(key.clone().prop_map(str::to_owned), inner.clone(), 0..5);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            entries.clone().prop_map(|entries| Value::Object(entries.into_iter().collect())),
            entries.prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}
