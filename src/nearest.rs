//! What somebody may have meant by a word that is none of those there are.

/// The most words that are offered.
const MOST: usize = 3;

/// The words nearest to `word`, nearest first: those that begin or end with it or contain it, and those a few letters away.
pub fn nearest<'a>(word: &str, words: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted = plain(word);
    let mut found: Vec<(usize, &str)> =
        words.into_iter().filter_map(|candidate| Some((apart(&wanted, &plain(candidate))?, candidate))).collect();
    found.sort_unstable();
    found.into_iter().map(|(_, candidate)| candidate).take(MOST).collect()
}

/// Those words as the end of a sentence: `; did you mean slack?`. Empty where there are none.
pub fn did_you_mean<'a>(word: &str, words: impl IntoIterator<Item = &'a str>) -> String {
    let near = nearest(word, words);
    if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(" or ")) }
}

/// Lower case, and nothing but letters and digits: `tokenUrl`, `token-url` and `tokenURL` are one word.
fn plain(word: &str) -> Vec<char> {
    word.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// How far two words are apart; none where they have nothing to do with each other.
fn apart(left: &[char], right: &[char]) -> Option<usize> {
    let distance = edits(left, right);
    let few = distance <= 1 + left.len().min(right.len()) / 4;
    let (short, long) = if left.len() < right.len() { (left, right) } else { (right, left) };
    let within = short.len() >= 3 && long.windows(short.len()).any(|part| part == short);
    // A word inside of another is further than a slip of the finger, and nearer than anything else.
    few.then_some(distance).or_else(|| within.then(|| 8 + long.len() - short.len()))
}

/// Letters to add, remove, replace or swap with a neighbour (optimal string alignment).
fn edits(left: &[char], right: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (row, a) in left.iter().enumerate() {
        let mut next = vec![row + 1];
        for (column, b) in right.iter().enumerate() {
            let replaced = last[column] + usize::from(a != b);
            let mut best = replaced.min(last[column + 1] + 1).min(next[column] + 1);
            if row > 0 && column > 0 && *a == right[column - 1] && left[row - 1] == *b {
                best = best.min(before[column - 1] + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut last, next);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: [&str; 4] = ["tokenURL", "authorizationURL", "revocationURL", "scopes"];

    #[test]
    fn slips_are_understood() {
        for (word, meant) in
            [("tokenUrl", "tokenURL"), ("token_url", "tokenURL"), ("socpes", "scopes"), ("scope", "scopes")]
        {
            assert_eq!(nearest(word, FIELDS).first(), Some(&meant), "{word}");
        }
        assert_eq!(nearest("authorization", FIELDS), ["authorizationURL"]);
        assert_eq!(did_you_mean("token-url", FIELDS), "; did you mean tokenURL?");
    }

    #[test]
    fn nothing_is_made_up() {
        assert_eq!(nearest("banana", FIELDS), Vec::<&str>::new());
        assert_eq!(did_you_mean("x", FIELDS), "");
    }

    #[test]
    fn neighbours_that_changed_places_are_one_edit() {
        let letters = |text: &str| text.chars().collect::<Vec<_>>();
        assert_eq!(edits(&letters("slack"), &letters("salck")), 1);
        assert_eq!(edits(&letters("abc"), &letters("")), 3);
    }
}
