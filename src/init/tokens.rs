//! Directives of nginx and Caddy: words, quotes, comments, blocks. nginx ends a directive with `;`, Caddy with its line.

/// A directive with its arguments and its block.
#[derive(Debug, Clone)]
pub(super) struct Directive {
    pub words: Vec<String>,
    pub block: Option<Vec<Directive>>,
    /// 1-based.
    pub line: usize,
}

impl Directive {
    pub fn name(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    pub fn arguments(&self) -> &[String] {
        self.words.get(1..).unwrap_or_default()
    }

    pub fn argument(&self, index: usize) -> &str {
        self.arguments().get(index).map_or("", String::as_str)
    }

    pub fn inner(&self) -> &[Directive] {
        self.block.as_deref().unwrap_or_default()
    }

    /// The directive in one line, for the list of what was left out.
    pub fn text(&self) -> String {
        let block = if self.block.is_some() { " { ... }" } else { "" };
        format!("{}{block}", self.words.join(" "))
    }
}

/// Line and reason of a text that cannot be read.
pub(super) type Failure = (usize, &'static str);

/// Blocks in blocks at most: a parser that recurses must end.
const DEPTH: usize = 32;

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Open,
    Close,
    /// `;`, or the end of a line.
    End,
}

/// Reads a whole text. `lines`: a line's end ends a directive (Caddy).
pub(super) fn parse(text: &str, lines: bool) -> Result<Vec<Directive>, Failure> {
    let tokens = tokens(text, lines)?;
    let mut at = 0;
    let directives = block(&tokens, &mut at, 0)?;
    match tokens.get(at) {
        Some((_, line)) => Err((*line, "a `}` without its `{`")),
        None => Ok(directives),
    }
}

fn block(tokens: &[(Token, usize)], at: &mut usize, depth: usize) -> Result<Vec<Directive>, Failure> {
    let mut out = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut first = 0;
    while let Some((token, line)) = tokens.get(*at) {
        match token {
            Token::Word(word) => {
                if words.is_empty() {
                    first = *line;
                }
                words.push(word.clone());
            }
            Token::End if words.is_empty() => {}
            Token::End => out.push(Directive { words: std::mem::take(&mut words), block: None, line: first }),
            Token::Open => {
                if depth == DEPTH {
                    return Err((*line, "blocks are too deep"));
                }
                *at += 1;
                let inner = block(tokens, at, depth + 1)?;
                if !matches!(tokens.get(*at), Some((Token::Close, _))) {
                    return Err((*line, "a `{` without its `}`"));
                }
                let line = if words.is_empty() { *line } else { first };
                out.push(Directive { words: std::mem::take(&mut words), block: Some(inner), line });
            }
            Token::Close => break,
        }
        *at += 1;
    }
    if !words.is_empty() {
        out.push(Directive { words, block: None, line: first });
    }
    Ok(out)
}

fn tokens(text: &str, lines: bool) -> Result<Vec<(Token, usize)>, Failure> {
    let mut out = Vec::new();
    let mut line = 1;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\n' => {
                line += 1;
                if lines {
                    out.push((Token::End, line - 1));
                }
            }
            c if c.is_whitespace() => {}
            '#' => while rest.next_if(|c| *c != '\n').is_some() {},
            ';' if !lines => out.push((Token::End, line)),
            // Caddy has braces as words of their own only; `{$VAR}` and `{host}` are part of a word.
            '{' if !lines || rest.peek().is_none_or(|next| next.is_whitespace()) => out.push((Token::Open, line)),
            '}' => out.push((Token::Close, line)),
            '\\' if lines && rest.next_if_eq(&'\n').is_some() => line += 1,
            '"' | '\'' | '`' if c != '\'' || !lines => {
                let start = line;
                let mut word = String::new();
                loop {
                    match rest.next() {
                        None => return Err((start, "a quote without its end")),
                        Some(end) if end == c => break,
                        Some('\\') if c != '`' => word.extend(rest.next()),
                        Some(other) => {
                            line += usize::from(other == '\n');
                            word.push(other);
                        }
                    }
                }
                out.push((Token::Word(word), start));
            }
            c => {
                let mut word = String::from(c);
                let mut braces = usize::from(c == '{');
                while let Some(next) = rest.next_if(|next| {
                    !next.is_whitespace() && (lines || !matches!(next, ';' | '{')) && (*next != '}' || braces > 0)
                        || !lines && *next == '{' && word.ends_with('$')
                }) {
                    braces = if next == '{' { braces + 1 } else { braces - usize::from(next == '}' && braces > 0) };
                    word.push(next);
                }
                out.push((Token::Word(word), line));
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_have_words_quotes_blocks_and_lines() {
        let text = "a b 'c d';\n# x\ns {\n  l ~ \\.php$ { r 301 https://$host${uri}; }\n}\n";
        let found = parse(text, false).unwrap();
        assert_eq!(found[0].words, ["a", "b", "c d"]);
        assert_eq!((found[1].name(), found[1].line), ("s", 3));
        let location = &found[1].inner()[0];
        assert_eq!(location.words, ["l", "~", "\\.php$"]);
        assert_eq!(location.inner()[0].words, ["r", "301", "https://$host${uri}"]);
    }

    #[test]
    fn caddy_ends_a_directive_with_its_line() {
        let found = parse("a.test, b.test {\n\tredir https://{host}{uri} 301\n\tx \"y\nz\"\n}\n", true).unwrap();
        assert_eq!(found[0].words, ["a.test,", "b.test"]);
        assert_eq!(found[0].inner()[0].words, ["redir", "https://{host}{uri}", "301"]);
        assert_eq!(found[0].inner()[1].words, ["x", "y\nz"]);
        for text in ["a {", "}", "\"a"] {
            assert!(parse(text, true).is_err(), "{text}");
        }
    }
}
