//! Licence expressions (SPDX 2.3, annex D): is there a way to take the licence that we allow?

/// Whether `expression` can be satisfied with the licences `allowed` says yes to. The old `A/B` means `A OR B`.
///
/// # Errors
/// Where the expression cannot be understood.
pub fn satisfied(expression: &str, allowed: impl Fn(&str) -> bool) -> Result<bool, String> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { words: &words, allowed: &allowed };
    let result = parser.either()?;
    match parser.words.first() {
        None => Ok(result),
        Some(word) => Err(format!("{expression:?}: did not expect {word:?}")),
    }
}

struct Parser<'a, F> {
    words: &'a [&'a str],
    allowed: &'a F,
}

impl<F: Fn(&str) -> bool> Parser<'_, F> {
    fn next_is(&mut self, word: &str) -> bool {
        let is = self.words.first() == Some(&word);
        if is {
            self.words = &self.words[1..];
        }
        is
    }

    fn either(&mut self) -> Result<bool, String> {
        let mut result = self.both()?;
        while self.next_is("OR") {
            result |= self.both()?;
        }
        Ok(result)
    }

    fn both(&mut self) -> Result<bool, String> {
        let mut result = self.one()?;
        while self.next_is("AND") {
            result &= self.one()?;
        }
        Ok(result)
    }

    fn one(&mut self) -> Result<bool, String> {
        if self.next_is("(") {
            let result = self.either()?;
            return if self.next_is(")") { Ok(result) } else { Err("a closing parenthesis is missing".to_owned()) };
        }
        let (licence, rest) = self.words.split_first().ok_or("a licence is missing")?;
        self.words = rest;
        // An exception only adds permissions, so the licence alone decides.
        if self.next_is("WITH") {
            self.words = self.words.split_first().ok_or("an exception is missing")?.1;
        }
        Ok((self.allowed)(licence))
    }
}

#[cfg(test)]
mod tests {
    use super::satisfied;

    fn check(expression: &str, wanted: Result<bool, ()>) {
        let allowed = |licence: &str| ["MIT", "Apache-2.0", "ISC"].contains(&licence);
        assert_eq!(satisfied(expression, allowed).map_err(drop), wanted, "{expression}");
    }

    #[test]
    fn expressions_are_evaluated() {
        check("MIT", Ok(true));
        check("GPL-3.0", Ok(false));
        check("GPL-3.0 OR MIT", Ok(true));
        check("MIT/Apache-2.0", Ok(true));
        check("MIT AND GPL-3.0", Ok(false));
        check("GPL-3.0 OR MIT AND ISC", Ok(true));
        check("(GPL-3.0 OR MIT) AND GPL-2.0", Ok(false));
        check("Apache-2.0 WITH LLVM-exception OR GPL-3.0", Ok(true));
        check("", Err(()));
        check("(MIT", Err(()));
        check("MIT ISC", Err(()));
    }
}
