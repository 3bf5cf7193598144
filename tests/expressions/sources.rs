//! Sources by the grammar of CEL, the reasonable and the hostile.

use proptest::prelude::*;
use proptest::sample::select;

/// A source: mostly CEL, sometimes with a mistake, sometimes repeated beyond all bounds.
pub fn source() -> impl Strategy<Value = String> {
    prop_oneof![
        12 => expression(),
        2 => (expression(), any::<prop::sample::Index>(), "[\\PC]{0,3}", 0_usize..4).prop_map(damaged),
        2 => repeated(),
    ]
}

fn variable() -> impl Strategy<Value = String> {
    select(vec!["response", "identity", "integration", "parameters"]).prop_map(str::to_owned)
}

/// A variable, or something in it: what a macro may run over.
fn path() -> impl Strategy<Value = String> {
    let step =
        select(vec![".a", ".items", ".items[0]", "['a-b']", "[0]", ".text", ".n", ".?a", "[?0]", ".very.deep.path"]);
    (variable(), prop::collection::vec(step, 0..3)).prop_map(|(root, steps)| root + &steps.concat())
}

fn literal() -> impl Strategy<Value = String> {
    let awkward = select(vec![
        "null",
        "true",
        "false",
        "0",
        "-0.0",
        "1u",
        "18446744073709551615u",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "0x7fffffffffffffff",
        "1e308",
        "-1e999",
        "1e-999",
        "b'\\xff'",
        "r'\\'",
        "'\\u00e9'",
        "'\\U0010ffff'",
        "'\\ud800'",
        "'\\x00'",
        "'\\377'",
        "''",
        "\"\"",
        "'''a\nb'''",
        "\"\"\"\"\"\"",
        "[]",
        "{}",
        "x",
        "type(1)",
        "optional.none()",
        "'(a+)+$'",
        "'(?:(?:a{0,99}){0,99}){0,99}'",
    ]);
    prop_oneof![
        4 => awkward.prop_map(str::to_owned),
        1 => any::<i64>().prop_map(|number| number.to_string()),
        1 => any::<f64>().prop_map(|number| format!("{number:e}")),
        1 => "'[\\PC&&[^'\\\\]]{0,12}'",
        1 => (0_usize..300).prop_map(|length| format!("'{}'", "a".repeat(length))),
    ]
}

fn binary() -> impl Strategy<Value = &'static str> {
    select(vec!["+", "+", "+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", " in "])
}

fn function() -> impl Strategy<Value = &'static str> {
    select(vec![
        "size",
        "string",
        "int",
        "uint",
        "double",
        "bytes",
        "type",
        "bool",
        "dyn",
        "has",
        "max",
        "min",
        "duration",
        "timestamp",
        "optional.of",
        "nosuch",
        "optional.ofNonZeroValue",
    ])
}

fn method() -> impl Strategy<Value = &'static str> {
    select(vec![
        "contains",
        "startsWith",
        "endsWith",
        "matches",
        "size",
        "orValue",
        "or",
        "value",
        "hasValue",
        "getFullYear",
        "split",
        "join",
        "replace",
        "format",
        "map",
        "filter",
        "all",
        "exists",
        "lowerAscii",
        "reverse",
        "range",
        "repeat",
    ])
}

fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![3 => path(), 2 => literal(), 1 => Just("x".to_owned())];
    leaf.prop_recursive(7, 40, 4, |inner| {
        let one = || inner.clone();
        prop_oneof![
            4 => (one(), binary(), one()).prop_map(|(left, word, right)| format!("{left}{word}{right}")),
            2 => (one(), binary(), one()).prop_map(|(left, word, right)| format!("({left}){word}({right})")),
            // The same again: what doubles at each level.
            3 => (one(), select(vec!["+", "==", ",", "<"])).prop_map(|(part, word)| match word {
                "," => format!("[{part},{part}]"),
                word => format!("({part}){word}({part})"),
            }),
            1 => (select(vec!["!", "-", "!!", "--", "-!"]), one()).prop_map(|(sign, part)| format!("{sign}{part}")),
            2 => (one(), one(), one()).prop_map(|(test, yes, no)| format!("{test}?{yes}:{no}")),
            2 => (one(), one()).prop_map(|(list, index)| format!("{list}[{index}]")),
            1 => (one(), select(vec![".a", ".items", ".?n", ".x"])).prop_map(|(of, field)| format!("({of}){field}")),
            2 => prop::collection::vec(one(), 0..4).prop_map(|parts| format!("[{}]", parts.join(","))),
            1 => (one(), one()).prop_map(|(key, value)| format!("{{{key}:{value}}}")),
            1 => (one(), one()).prop_map(|(key, value)| format!("{{'a':{value},'b':[{key}],?'c':optional.of({value})}}")),
            1 => one().prop_map(|value| format!("some.Message{{field:{value}}}")),
            3 => (function(), one()).prop_map(|(name, part)| format!("{name}({part})")),
            2 => (one(), method(), one()).prop_map(|(of, name, part)| format!("({of}).{name}({part})")),
            6 => (path(), select(vec!["map", "filter", "all", "exists", "exists_one", "existsOne"]), one())
                .prop_map(|(of, name, body)| format!("{of}.{name}(x,{body})")),
            2 => (path(), one(), one()).prop_map(|(of, test, body)| format!("{of}.map(x,{test},{body})")),
            1 => one().prop_map(|part| format!("({part})")),
            1 => one().prop_map(|part| format!("{part} // {part}\n")),
        ]
    })
}

/// Something is cut out, put in or doubled at some place.
fn damaged((source, place, junk, kind): (String, prop::sample::Index, String, usize)) -> String {
    let mut places: Vec<usize> = source.char_indices().map(|(at, _)| at).collect();
    places.push(source.len());
    let at = *place.get(&places);
    let (head, tail) = source.split_at(at);
    match kind {
        0 => format!("{head}{junk}{tail}"),
        1 => format!("{head}{}", tail.chars().skip(1).collect::<String>()),
        2 => head.to_owned(),
        _ => format!("{head}{tail}{tail}"),
    }
}

/// One piece again and again, up to the longest source and a little further.
fn repeated() -> impl Strategy<Value = String> {
    let pieces = select(vec![
        "(",
        "[",
        "{",
        "{1:",
        "-",
        "!",
        "- ",
        "true?",
        "true?1:",
        "1?(",
        "[[",
        "f(",
        "a.b(",
        ".a",
        "[0]",
        "+1",
        "+x",
        "+response",
        "&&x",
        "||x",
        "<1",
        "==1",
        " in [",
        "'",
        "\"",
        "'''",
        "`",
        "\\",
        "r'",
        "b'",
        "//",
        ",",
        ":",
        "?:",
        "1,",
        "'a',",
        "response,",
        "response+",
        "\u{1f4a3}",
        "\u{202e}",
        "e\u{301}",
        "response.map(x,",
        "response.items.map(x,[",
        ".map(x,x)",
        ".filter(x,true)",
        "has(a.b)&&",
        "size([",
        "matches('a','(a*)*')&&",
        "optional.of(",
        "x.?y",
        "0",
        "1.",
        "0x",
        "1u",
        " ",
        "\n",
        "\t",
        "\0",
    ]);
    (variable(), pieces, 1_usize..600, prop::bool::ANY, select(vec!["", "1", ")", "]", "response"])).prop_map(
        |(start, piece, times, leading, end)| {
            let body = piece.repeat(times.min(1100 / piece.len()));
            let closing: String = piece
                .chars()
                .rev()
                .filter_map(|bracket| match bracket {
                    '(' => Some(')'),
                    '[' => Some(']'),
                    '{' => Some('}'),
                    _ => None,
                })
                .collect();
            let start = if leading { start } else { String::new() };
            format!("{start}{body}{end}{}", closing.repeat(times.min(500)))
        },
    )
}
