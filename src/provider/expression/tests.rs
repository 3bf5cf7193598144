use proptest::prelude::*;
use serde_json::json;

use super::*;

fn variables() -> Variables {
    Variables {
        response: json!({"ok": true, "team": {"id": "T1", "name": "Acme"}, "enterprise": null, "n": 3, "big": 9_007_199_254_740_993_u64, "f": 1.5}),
        identity: json!({"id": 42, "orgs": [{"id": "o1", "on": false}, {"id": "o2", "on": true}], "a-b": 1}),
        integration: json!({"projectId": "web"}),
        parameters: json!({"subdomain": "acme"}),
        status: json!(200),
        ..Variables::default()
    }
}

fn evaluate(source: &str) -> Option<Result<Value, EvaluateError>> {
    Expression::compile(source).ok().map(|expression| expression.evaluate(&variables()))
}

fn result(source: &str) -> Option<Value> {
    evaluate(source)?.ok()
}

#[test]
fn values_come_out_as_json() {
    for (source, expected) in [
        ("response.team.id", json!("T1")),
        ("status == 200", json!(true)),
        ("request.query.realmId", json!(null)),
        ("lookup.site.id", json!(null)),
        ("response.team", json!({"id": "T1", "name": "Acme"})),
        ("identity.id", json!(42)),
        ("response.big", json!(9_007_199_254_740_993_u64)),
        ("response.f", json!(1.5)),
        ("response.ok == true", json!(true)),
        ("identity['a-b']", json!(1)),
        ("identity.orgs[1].id", json!("o2")),
        ("identity.orgs.filter(o, o.on)[0].id", json!("o2")),
        ("identity.orgs.map(o, o.id)", json!(["o1", "o2"])),
        ("identity.orgs.exists(o, o.id == 'o1')", json!(true)),
        ("has(response.team) ? response.team.name : 'none'", json!("Acme")),
        ("'https://' + parameters.subdomain + '.example.com'", json!("https://acme.example.com")),
        ("string(identity.id)", json!("42")),
        ("integration.projectId", json!("web")),
        ("{'a': response.n + 1}", json!({"a": 4})),
        ("null", json!(null)),
        ("toJson({'b': response.team, 'a': 1})", json!("{\"a\":1,\"b\":{\"id\":\"T1\",\"name\":\"Acme\"}}")),
    ] {
        assert_eq!(result(source), Some(expected), "{source}");
    }
}

#[test]
fn what_is_not_there_is_null() {
    for source in [
        "response.nothing",
        "response.nothing.id",
        "response.enterprise",
        "response.enterprise.id",
        "response.enterprise['id']",
        "identity.orgs[7].id",
        "identity.orgs.filter(o, o.id == 'x')[0].id",
    ] {
        assert_eq!(result(source), Some(Value::Null), "{source}");
    }
    let expression = Expression::compile("response.team.id").ok();
    assert_eq!(expression.and_then(|expression| expression.evaluate(&Variables::default()).ok()), Some(Value::Null));
}

#[test]
fn mistakes_are_errors() {
    for source in [
        "response.n + 'a'",
        "1 / 0",
        "response.team > 1",
        "nosuch(response)",
        "size(1)",
        "response.ok()",
        "9223372036854775807 + 1",
        "response.team.id.id",
    ] {
        assert!(
            matches!(evaluate(source), Some(Err(EvaluateError::Execute { .. }))),
            "{source} {:?}",
            evaluate(source)
        );
    }
}

#[test]
fn wrong_sources_say_where() {
    assert!(matches!(
        Expression::compile("response.\n  team..id"),
        Err(ExpressionError::Parse { line: 2, column: 1.., .. })
    ));
    for source in ["", "1 +", "response team", "'open", "a b c", "\u{0}"] {
        assert!(matches!(Expression::compile(source), Err(ExpressionError::Parse { .. })), "{source:?}");
    }
    for source in ["token", "answer.x", "response.x + env", "identity.orgs.map(o, p.id)"] {
        assert!(matches!(Expression::compile(source), Err(ExpressionError::UnknownVariable { .. })), "{source}");
    }
}

#[test]
fn sources_are_bounded() {
    assert!(matches!(Expression::compile(&"a".repeat(1025)), Err(ExpressionError::TooLong)));
    for deep in ["(", "[", "{", "!", "-", "true?1:", "[(", "f("] {
        let source = deep.repeat(1000 / deep.len());
        assert!(matches!(Expression::compile(&source), Err(ExpressionError::TooDeep { .. })), "{deep}");
    }
    assert!(matches!(Expression::compile(&format!("1{}", "+1".repeat(100))), Err(ExpressionError::TooComplex)));
    assert!(matches!(Expression::compile(&format!("1{}", "+1".repeat(17))), Err(ExpressionError::TooDeep { .. })));
    assert!(Expression::compile(&format!("response{}", ".a".repeat(60))).is_ok());
    for source in [
        "response.a.map(x, response.b.map(y, y))",
        "(response.a + response.b).map(x, x)",
        "[1, 2].map(x, x)",
        "response.a.map(x, x).filter(y, y)",
        "response.a.all(x, x) && response.b.all(x, x)",
    ] {
        assert!(matches!(Expression::compile(source), Err(ExpressionError::Macro)), "{source}");
    }
}

#[test]
fn inputs_and_results_are_bounded() {
    let compile = |source: &str| Expression::compile(source).map_err(|_| EvaluateError::Panicked);
    let over =
        |source: &str, response: Value| compile(source)?.evaluate(&Variables { response, ..Variables::default() });
    let nested = (0..70).fold(json!(1), |inner, _| json!([inner]));
    assert!(matches!(over("response", nested), Err(EvaluateError::InputTooDeep)));
    assert!(matches!(over("response", json!("a".repeat(LARGEST_INPUT))), Err(EvaluateError::InputTooLarge)));
    assert!(matches!(over("response", json!("a".repeat(5000))), Err(EvaluateError::ResultTooLarge)));
    assert!(matches!(over("response.map(x, x)", json!(vec![1; 10_000])), Err(EvaluateError::TooMuchWork)));
    assert!(over("response.map(x, x + 1)[0]", json!(vec![1; 200])).is_ok_and(|result| result == json!(2)));
    assert!(over("size(response)", json!("a".repeat(500_000))).is_ok());
}

#[test]
fn the_largest_expressions_fit_a_small_stack() {
    let sources = [
        format!("{}1{}", "(".repeat(16), ")".repeat(16)),
        format!("{}1{}", "[".repeat(16), "]".repeat(16)),
        format!("{}1{}", "{1:".repeat(16), "}".repeat(16)),
        format!("{}1{}", "size(".repeat(16), ")".repeat(16)),
        format!("response{}", "[0]".repeat(16)),
        format!("identity.orgs.map(o, {}1{})", "[".repeat(12), "]".repeat(12)),
        format!("1{}", "+1".repeat(16)),
        format!("1{}", "<1".repeat(16)),
        format!("1{}", "<1".repeat(500)),
        format!("1{}", "+1".repeat(500)),
        format!("response{}", ".a".repeat(500)),
        format!("1{}", "&&1".repeat(300)),
        "a.b(".repeat(16),
        ",".repeat(1024),
        "`".repeat(1024),
        "'''".repeat(300),
        "1:".repeat(500),
    ];
    // What a worker of tokio has.
    let small = std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(move || {
        for source in sources {
            if let Ok(expression) = Expression::compile(&source) {
                drop(expression.evaluate(&variables()));
            }
        }
    });
    assert!(small.is_ok_and(|thread| thread.join().is_ok()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_source_is_compiled_or_refused(source in "\\PC{0,80}") {
        if let Ok(expression) = Expression::compile(&source) {
            drop(expression.evaluate(&variables()));
        }
    }

    #[test]
    fn anything_like_an_expression_ends(words in prop::collection::vec(prop::sample::select(vec![
        "response", "identity", ".team", ".orgs", "[", "]", "(", ")", "{", "}", "0", "1u", "-1.5", "'a'", "b'x'", "\"", "+", "-", "*", "/", "%", "!", "&&", "||", "?", ":",
        ",", ".map(x,", ".filter(x,", ".all(x,", "x", "has(", "size(", "string(", "int(", "type(", "==", "<", "in", "true", "null", " ", "\n", "\\", "`", "//",
    ]), 0..200)) {
        if let Ok(expression) = Expression::compile(&words.concat()) {
            drop(expression.evaluate(&variables()));
        }
    }
}

#[test]
fn an_expression_can_be_shared() {
    fn shared<T: Send + Sync>() {}
    shared::<Expression>();
}
