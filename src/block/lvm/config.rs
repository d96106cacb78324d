//! Parses the text format of LVM metadata: sections in braces, and keys whose value is a number,
//! a string or a list of those. The depth of nesting is limited.

/// Limit on nesting. LVM itself nests three deep.
const MAX_DEPTH: usize = 8;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    /// `NAME { ... }`, in the order of the text.
    Section(Vec<(String, Node)>),
    /// An integer; other numbers become text.
    Number(i64),
    Text(String),
    List(Vec<Node>),
}

impl Node {
    /// The node called `name`, if this is a section that has it.
    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        let found = self.entries().iter().find(|(key, _)| key == name);
        found.map(|(_, node)| node)
    }

    /// The number called `name`, unless it is negative.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        match self.get(name)? {
            Node::Number(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The list called `name`; empty if absent.
    pub(crate) fn list(&self, name: &str) -> &[Node] {
        match self.get(name) {
            Some(Node::List(list)) => list,
            _ => &[],
        }
    }

    /// The contents of a section; empty for anything else.
    pub(crate) fn entries(&self) -> &[(String, Node)] {
        match self {
            Node::Section(entries) => entries,
            _ => &[],
        }
    }
}

/// Parses the text as one section; `None` on a syntax error.
pub(crate) fn parse(text: &str) -> Option<Node> {
    let mut reader = Reader { rest: text };
    let entries = reader.entries(0)?;
    reader.rest.is_empty().then_some(Node::Section(entries))
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn skip(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            if !self.rest.starts_with('#') {
                return;
            }
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            self.rest = &self.rest[end..];
        }
    }

    fn take(&mut self, mark: char) -> bool {
        self.skip();
        let after = self.rest.strip_prefix(mark);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    /// Takes everything up to the first character for which `ends` is true.
    fn until(&mut self, ends: impl Fn(char) -> bool) -> &'a str {
        let (found, rest) = self
            .rest
            .split_at(self.rest.find(ends).unwrap_or(self.rest.len()));
        self.rest = rest;
        found
    }

    fn entries(&mut self, depth: usize) -> Option<Vec<(String, Node)>> {
        let mut entries = Vec::new();
        loop {
            self.skip();
            if self.rest.is_empty() || self.rest.starts_with('}') {
                return Some(entries);
            }
            let name = self.until(|c| c.is_whitespace() || "={}[]\"#,".contains(c));
            if name.is_empty() {
                return None;
            }
            let node = if self.take('{') {
                if depth == MAX_DEPTH {
                    return None;
                }
                let inner = self.entries(depth + 1)?;
                self.take('}').then_some(Node::Section(inner))?
            } else {
                self.take('=').then(|| self.value())??
            };
            entries.push((name.to_owned(), node));
        }
    }

    fn value(&mut self) -> Option<Node> {
        if !self.take('[') {
            return self.scalar();
        }
        let mut list = Vec::new();
        while !self.take(']') {
            list.push(self.scalar()?);
            self.take(',');
        }
        Some(Node::List(list))
    }

    fn scalar(&mut self) -> Option<Node> {
        if self.take('"') {
            return self.string().map(Node::Text);
        }
        let word = self.until(|c| c.is_whitespace() || ",]}#".contains(c));
        if word.is_empty() {
            return None;
        }
        let number = word.parse().map(Node::Number);
        Some(number.unwrap_or_else(|_| Node::Text(word.to_owned())))
    }

    /// Reads up to the closing quote. A backslash makes the next character literal.
    fn string(&mut self) -> Option<String> {
        let mut text = String::new();
        let mut characters = self.rest.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Some(text);
                }
                '\\' => text.push(characters.next()?.1),
                _ => text.push(character),
            }
        }
        None
    }
}
