//! What is known to have broken evaluators of CEL and their like, or was found here.

use integration_operator::provider::expression::Variables;
use serde_json::{Value, json};

/// The sources; most are refused, and none may do harm.
pub fn sources() -> Vec<String> {
    let mut sources: Vec<String> = [
        // Loops in loops, and loops over what the source itself makes large.
        "[1,1,1,1,1,1,1,1].map(x, [1,1,1,1,1,1,1,1].map(y, [1,1,1,1,1,1,1,1].map(z, [x, y, z])))",
        "response.items.map(x, response.items.map(y, response.items.map(z, x)))",
        "(response.items + response.items + response.items).map(x, response.items)",
        "response.items.filter(x, true).filter(x, true).filter(x, true)",
        "response.items.map(x, response.items)",
        "response.items.map(x, response)",
        "response.items.map(x, [response, response, response, response])",
        "response.items.map(x, response.items + response.items)",
        "response.items.map(x, response.items == response.items)",
        "response.items.map(x, string(x) + response.text)",
        "response.items.all(x, response.items.size() > 0 && x in response.items)",
        "response.items.exists(x, response == identity)",
        "response.items.map(response, response)",
        "response.items.map(x, {string(x): response})",
        // Strings and lists that double.
        "(((response.text + response.text) + (response.text + response.text)) + ((response.text + response.text) + (response.text + response.text)))",
        "[[response, response], [response, response], [response, response], [response, response]]",
        "{'a': response, 'b': {'a': response, 'b': {'a': response, 'b': response}}}",
        "'aaaaaaaaaaaaaaaa'.repeat(1000000000)",
        "response.text.replace('', response.text)",
        "response.text.split('').join(response.text)",
        "'%1000000000d'.format([1])",
        "string(bytes(string(bytes(response.text + response.text))))",
        "lists.range(1000000000)",
        // Patterns that backtrack, or that are large when compiled.
        "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!'.matches('^(a+)+$')",
        "response.text.matches('(a|aa)+$')",
        "response.text.matches('((a{0,99}){0,99}){0,99}')",
        "matches(response.text, response.text)",
        "response.items.all(x, matches(string(x), '(x*)*y'))",
        // Numbers at their ends.
        "-9223372036854775808 / -1",
        "-9223372036854775808 % -1",
        "-(-9223372036854775808)",
        "9223372036854775807 * 9223372036854775807",
        "0u - 1u",
        "int(1e308)",
        "uint(-1.0)",
        "int('9999999999999999999999')",
        "[1][9223372036854775807]",
        "[1][-1]",
        "response.items[18446744073709551615u]",
        "1e308 * 1e308 == 0.0 / 0.0",
        "{0.0 / 0.0: 1}",
        // Literals that do not end, or are none.
        "'open",
        "\"\"\"open",
        "r'\\",
        "b'\\x",
        "'\\u",
        "'\\U00110000'",
        "'\\ud800\\udc00'",
        "0x",
        "1e",
        "99999999999999999999999999999999999999999999999999999999999999u",
        "\u{feff}response",
        "response\u{0}.a",
        "\u{202e}response.a",
        "𝓇𝑒𝓈𝓅𝑜𝓃𝓈𝑒",
        // Names from inside, and keys that there cannot be.
        "@result",
        "response.items.map(@result, @result)",
        "__result__",
        "response.items.map(x, @result)",
        "{null: 1, [1]: 2, {}: 3}",
        "{'a': 1, 'a': 2}",
        "some.Message{a: 1}.a",
        "type(type(type(type(response))))",
        "dyn(response) + dyn(identity)",
        "has(response.a.b.c) && has(has(response.a))",
        "optional.of(response).value().items",
        "[?optional.none(), ?optional.of(response)]",
    ]
    .map(str::to_owned)
    .into();
    for (open, close) in [
        ("(", ")"),
        ("[", "]"),
        ("{1:", "}"),
        ("size(", ")"),
        ("-", ""),
        ("!", ""),
        ("- ", ""),
        ("true?1:", ""),
        ("true?", ":1"),
    ] {
        for times in [8, 16, 17, 100, 1000] {
            sources.push(format!("{}1{}", open.repeat(times), close.repeat(times)));
        }
    }
    for tail in [
        "+1",
        "+response",
        "+response.text",
        "*2",
        "<1",
        "&&true",
        "||x",
        ".a",
        "[0]",
        ".map(x,x)",
        ".filter(x,true)",
        "?1:2",
        " in [1]",
    ] {
        for times in [8, 15, 16, 60, 400] {
            sources.push(format!("response{}", tail.repeat(times)));
        }
    }
    for inside in ["1,", "'a',", "response,", "response.items,", "{},", "[],"] {
        for times in [8, 60, 300] {
            sources.push(format!("[{}1]", inside.repeat(times)));
        }
    }
    sources
}

/// What they are tried on.
pub fn inputs() -> Vec<Variables> {
    let with = |response: Value| Variables { response, identity: json!({ "a": 1 }), ..Variables::default() };
    let deep = (0..63).fold(json!(1), |inner, _| json!([inner]));
    vec![
        Variables::default(),
        with(json!({ "items": (0..100).collect::<Vec<_>>(), "text": "a".repeat(100), "a": { "b": 1 } })),
        with(json!({ "items": (0..1000).collect::<Vec<_>>(), "text": "aaaa" })),
        with(json!({ "items": vec!["a".repeat(100); 100], "text": "a".repeat(10_000) })),
        with(json!({ "items": vec![1; 50_000], "text": "a".repeat(100_000) })),
        with(json!({ "items": [deep], "text": "a".repeat(1_000_000) })),
    ]
}
