//! Reads Rust sources just well enough to judge them: comments, strings and test items taken out, paths listed.
//!
//! Blanking keeps every line where it was, so that a line number found in the result is right in the file.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// One Rust file in the three forms that the checks need.
pub(crate) struct Source {
    /// Path from the root of the repository, with `/`.
    pub(crate) path: String,
    /// As written.
    pub(crate) raw: String,
    /// Without comments and the insides of strings.
    pub(crate) code: String,
    /// `code` without items under `#[cfg(test)]`.
    pub(crate) production: String,
}

/// A path as it stands in the code; a grouped `use` gives one for each leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathUse {
    pub(crate) line: usize,
    pub(crate) segments: Vec<String>,
}

impl Source {
    pub(crate) fn new(path: &str, raw: &str) -> Self {
        let code = blank_comments_and_strings(raw);
        let production = if is_test_file(path) {
            code.chars().map(blank).collect()
        } else {
            blank_test_items(&code)
        };
        Self {
            path: path.to_owned(),
            raw: raw.to_owned(),
            code,
            production,
        }
    }

    /// Every `.rs` file below a folder of the repository, in the order of their paths.
    pub(crate) fn read_all(folder: &str) -> Vec<Self> {
        files_below(&root().join(folder))
            .into_iter()
            .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
            .map(|path| Self::new(&relative(&path), &fs::read_to_string(&path).unwrap()))
            .collect()
    }

    /// The module path of a file below `src`: `src/cli/mod.rs` is `[cli]`, `src/lib.rs` is `[]`.
    pub(crate) fn module_path(&self) -> Vec<&str> {
        let inner = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        let mut segments: Vec<&str> = inner.split('/').collect();
        if segments
            .last()
            .is_some_and(|last| ["mod", "lib", "main"].contains(last))
        {
            segments.pop();
        }
        segments
    }

    /// Lines that are not in test items, comments included.
    pub(crate) fn production_line_count(&self) -> usize {
        let in_tests = self
            .code
            .lines()
            .zip(self.production.lines())
            .filter(|(code, production)| code.trim() != production.trim())
            .count();
        // Lines of a test item that are blank in both forms are too few to matter against the cap.
        self.raw.lines().count() - in_tests
    }
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A path from the root of the repository, with `/`.
pub(crate) fn relative(path: &Path) -> String {
    let inner = path.strip_prefix(root()).unwrap();
    inner.to_str().unwrap().replace('\\', "/")
}

/// All files below a folder, sorted; `target` and hidden folders other than `.ci` are left out.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let is_ours = name == ".ci" || !(name == "target" || name.starts_with('.'));
            if path.is_dir() && is_ours {
                folders.push(path);
            } else if path.is_file() && name != ".git" {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn blank_comments_and_strings(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => line_end(&chars, at),
            '/' if chars.get(at + 1) == Some(&'*') => block_comment_end(&chars, at),
            '"' => string_end(&chars, at),
            'r' if at == 0 || !is_ident(chars[at - 1]) || is_byte_prefix(&chars, at) => {
                raw_string_end(&chars, at).unwrap_or(at)
            }
            '\'' => char_end(&chars, at).unwrap_or(at),
            _ => at,
        };
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|&c| blank(c)));
            at = end;
        }
    }
    out
}

fn blank(c: char) -> char {
    if c == '\n' { '\n' } else { ' ' }
}

fn is_ident(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether the `r` at this place belongs to a `br` or `cr` that starts a raw string.
fn is_byte_prefix(chars: &[char], at: usize) -> bool {
    "bc".contains(chars[at - 1]) && (at == 1 || !is_ident(chars[at - 2]))
}

fn line_end(chars: &[char], at: usize) -> usize {
    (at..chars.len())
        .find(|&i| chars[i] == '\n')
        .unwrap_or(chars.len())
}

fn block_comment_end(chars: &[char], at: usize) -> usize {
    let mut depth = 0_usize;
    let mut i = at;
    while i + 1 < chars.len() {
        match (chars[i], chars[i + 1]) {
            ('/', '*') => {
                depth += 1;
                i += 2;
            }
            ('*', '/') => {
                depth -= 1;
                i += 2;
                if depth == 0 {
                    return i;
                }
            }
            _ => i += 1,
        }
    }
    chars.len()
}

fn string_end(chars: &[char], at: usize) -> usize {
    let mut i = at + 1;
    while i < chars.len() {
        match chars[i] {
            '\\' if i + 1 < chars.len() => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    chars.len()
}

fn raw_string_end(chars: &[char], at: usize) -> Option<usize> {
    let n_hashes = chars[at + 1..].iter().take_while(|&&c| c == '#').count();
    let quote = at + 1 + n_hashes;
    if chars.get(quote) != Some(&'"') {
        return None;
    }
    let closes = |i: usize| {
        chars[i] == '"' && chars[i + 1..].iter().take_while(|&&c| c == '#').count() >= n_hashes
    };
    (quote + 1..chars.len())
        .find(|&i| closes(i))
        .map(|i| i + 1 + n_hashes)
}

/// End of a character literal; `None` for a lifetime.
fn char_end(chars: &[char], at: usize) -> Option<usize> {
    match (chars.get(at + 1)?, chars.get(at + 2)?) {
        ('\\', _) => (at + 3..chars.len())
            .find(|&i| chars[i] == '\'')
            .map(|i| i + 1),
        (_, '\'') => Some(at + 3),
        _ => None,
    }
}

/// Whether a file below `src` is a module of tests by its name: `tests`, `testing`, or one that ends with `_tests`,
/// or a part of such a module. The line that declares it is under `#[cfg(test)]` in its parent.
fn is_test_file(path: &str) -> bool {
    let mut segments = path.trim_end_matches(".rs").split('/');
    segments.next() == Some("src")
        && segments.any(|name| ["tests", "testing"].contains(&name) || name.ends_with("_tests"))
}

/// Blanks every item under `#[cfg(test)]`, from the attribute to the end of the item.
fn blank_test_items(code: &str) -> String {
    const ATTRIBUTE: &str = "#[cfg(test)]";
    if code.contains("#![cfg(test)]") {
        return code.chars().map(blank).collect();
    }
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(start) = rest.find(ATTRIBUTE) {
        let end = start + ATTRIBUTE.len();
        let item_end = end + item_end(&rest[end..]);
        out.push_str(&rest[..start]);
        out.extend(rest[start..item_end].chars().map(blank));
        rest = &rest[item_end..];
    }
    out.push_str(rest);
    out
}

/// Where the item ends that starts here: at its first `;` outside brackets, or at the brace that closes its first.
fn item_end(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 && c == '}' {
                    return at + 1;
                }
            }
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// Every path and lone identifier of the code; a grouped `use` is expanded, an alias is dropped.
pub(crate) fn paths(code: &str) -> Vec<PathUse> {
    let tokens = tokens(code);
    let mut reader = Reader {
        tokens: &tokens,
        at: 0,
        found: Vec::new(),
    };
    while reader.at < tokens.len() {
        if reader.peek() == "use" && !["<", "::"].contains(&reader.peek_at(1)) {
            reader.at += 1;
            reader.use_tree(&[]);
        } else if reader.peek() == "use" && reader.peek_at(1) == "::" {
            reader.at += 2;
            reader.use_tree(&[]);
        } else if starts_ident(reader.peek()) {
            reader.plain_path();
        } else {
            reader.at += 1;
        }
    }
    reader.found
}

struct Token<'a> {
    text: &'a str,
    line: usize,
}

fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    for (index, text) in code.lines().enumerate() {
        let line = index + 1;
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let first_len = rest.chars().next().map_or(1, char::len_utf8);
            let ident_len = rest.find(|c| !is_ident(c)).unwrap_or(rest.len());
            let len = if rest.starts_with("::") {
                2
            } else {
                ident_len.max(first_len)
            };
            found.push(Token {
                text: &rest[..len],
                line,
            });
            rest = rest[len..].trim_start();
        }
    }
    found
}

fn starts_ident(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

struct Reader<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
    found: Vec<PathUse>,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> &'a str {
        self.peek_at(0)
    }

    fn peek_at(&self, ahead: usize) -> &'a str {
        self.tokens.get(self.at + ahead).map_or("", |t| t.text)
    }

    fn emit(&mut self, segments: &[&str]) {
        let line = self.tokens[self.at.min(self.tokens.len() - 1)].line;
        self.found.push(PathUse {
            line,
            segments: segments.iter().map(|&s| s.to_owned()).collect(),
        });
    }

    fn plain_path(&mut self) {
        let mut segments = vec![self.peek()];
        while self.peek_at(1) == "::" && starts_ident(self.peek_at(2)) {
            self.at += 2;
            segments.push(self.peek());
        }
        self.emit(&segments);
        self.at += 1;
    }

    fn use_tree(&mut self, prefix: &[&'a str]) {
        let mut segments = prefix.to_vec();
        loop {
            match self.peek() {
                "{" => {
                    self.at += 1;
                    while !["}", ""].contains(&self.peek()) {
                        self.use_tree(&segments);
                        if self.peek() == "," {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                "self" if !segments.is_empty() => {}
                text => segments.push(text),
            }
            if self.peek_at(1) != "::" {
                break;
            }
            self.at += 2;
        }
        self.emit(&segments);
        self.at += 1;
        if self.peek() == "as" {
            self.at += 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_paths(code: &str) -> Vec<String> {
        paths(code).iter().map(|p| p.segments.join("::")).collect()
    }

    #[test]
    fn comments_strings_and_characters_are_blanked_and_lines_stay() {
        let text =
            "a // b\n/* c /* d */\n e */ f \"g\\\"\nh\" r#\"i\"j\"# b\"k\" 'l' '\\'' <'m> r#n\nz";
        let code = blank_comments_and_strings(text);
        assert_eq!(code.lines().count(), text.lines().count());
        let words: Vec<&str> = code.split_whitespace().collect();
        assert_eq!(words, ["a", "f", "b", "<'m>", "r#n", "z"]);
    }

    #[test]
    fn items_of_tests_are_blanked_and_code_after_them_stays() {
        let source = Source::new(
            "src/x.rs",
            "fn a() {}\n#[cfg(test)]\nmod tests {\n    use crate::b;\n    fn c() { d(); }\n}\n\
             #[cfg(test)]\nuse e::{f, g};\n#[cfg(test)]\n#[path = \"t.rs\"]\nmod t;\nfn h() {}\n",
        );
        let found = all_paths(&source.production);
        assert_eq!(found, ["fn", "a", "fn", "h"]);
        assert_eq!(source.production_line_count(), 2);
    }

    #[test]
    fn grouped_and_nested_uses_are_expanded() {
        let found = all_paths(
            "use crate::{a::{self, B}, c::*, d as e};\npub use ::f::g;\nuse super::super::h;",
        );
        let expected = [
            "crate::a",
            "crate::a::B",
            "crate::c::*",
            "crate::d",
            "pub",
            "f::g",
            "super::super::h",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn inline_paths_are_found_with_their_lines() {
        let found = paths("fn a() {\n    crate::b::c::<D>(e::f);\n}");
        assert!(found.contains(&PathUse {
            line: 2,
            segments: ["crate", "b", "c"].map(str::to_owned).to_vec()
        }));
        assert!(found.iter().any(|p| p.segments == ["e", "f"]));
    }

    #[test]
    fn module_paths_follow_the_files() {
        let module = |path: &str| Source::new(path, "").module_path().join("::");
        assert_eq!(module("src/lib.rs"), "");
        assert_eq!(module("src/slot.rs"), "slot");
        assert_eq!(module("src/cli/mod.rs"), "cli");
        assert_eq!(module("src/cli/offline.rs"), "cli::offline");
    }
}
