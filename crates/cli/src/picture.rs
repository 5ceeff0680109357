//! Pictures as SVG (<https://www.w3.org/TR/SVG11/>): one file without scripts, links or fonts of its own.
//!
//! What stands in a picture may come from a file that somebody else wrote, so every text is escaped and what XML cannot
//! hold is left out. Colours repeat what a sign or a word says.

use std::fmt::Write as _;

/// The colours of what is gained, lost, recorded, and of everything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ink {
    /// Passes.
    Good,
    /// Does not pass any more.
    Bad,
    /// Passes and is recorded.
    Warn,
    /// Words.
    Plain,
    /// Words that matter less.
    Faint,
}

impl Ink {
    const fn colour(self) -> &'static str {
        match self {
            Self::Good => "#1a7f37",
            Self::Bad => "#b42318",
            Self::Warn => "#8a5a00",
            Self::Plain => "#1f2328",
            Self::Faint => "#656d76",
        }
    }

    /// For areas behind words.
    const fn wash(self) -> &'static str {
        match self {
            Self::Good => "#dafbe1",
            Self::Bad => "#ffe1de",
            Self::Warn => "#fff3cd",
            Self::Plain => "#f6f8fa",
            Self::Faint => "#ffffff",
        }
    }

    /// Dashes, so that a line is told from another without its colour.
    const fn dashes(self) -> &'static str {
        match self {
            Self::Bad => " stroke-dasharray=\"6 4\"",
            Self::Warn => " stroke-dasharray=\"2 3\"",
            Self::Good | Self::Plain | Self::Faint => "",
        }
    }
}

/// Where a text stands relative to its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    /// It begins there.
    Start,
    /// Its middle is there.
    Middle,
    /// It ends there.
    End,
}

/// A picture on its way. Lengths are in pixels; y grows downwards.
#[derive(Debug, Default)]
pub(crate) struct Picture {
    body: String,
    width: u32,
    height: u32,
}

/// Height of a letter of ordinary text.
pub(crate) const SIZE: u32 = 13;

/// The room that a text of ordinary size takes: letters of its first font are 0.62 of their height wide on average.
pub(crate) fn room(text: &str) -> u32 {
    let letters = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
    letters.saturating_mul(8)
}

impl Picture {
    /// A box with rounded corners; `title` is shown when pointed at.
    pub(crate) fn area(
        &mut self,
        (x, y): (u32, u32),
        (width, height): (u32, u32),
        ink: Ink,
        title: &str,
    ) {
        let (wash, colour) = (ink.wash(), ink.colour());
        let _ = writeln!(
            self.body,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"5\" fill=\"{wash}\" stroke=\"{colour}\">{}</rect>",
            titled(title)
        );
        self.reach(x + width, y + height);
    }

    /// One line of text.
    pub(crate) fn text(&mut self, (x, y): (u32, u32), anchor: Anchor, ink: Ink, text: &str) {
        let (from, colour) = (anchored(anchor), ink.colour());
        let _ = writeln!(
            self.body,
            "<text x=\"{x}\" y=\"{y}\" fill=\"{colour}\"{from}>{}</text>",
            escaped(text)
        );
        let room = room(text);
        let right = match anchor {
            Anchor::Start => x + room,
            Anchor::Middle => x + room / 2,
            Anchor::End => x,
        };
        self.reach(right, y);
    }

    /// A text that reads upwards from its point.
    pub(crate) fn upwards(&mut self, (x, y): (u32, u32), ink: Ink, text: &str) {
        let colour = ink.colour();
        let _ = writeln!(
            self.body,
            "<text transform=\"translate({x} {y}) rotate(-60)\" fill=\"{colour}\">{}</text>",
            escaped(text)
        );
        self.reach(x + room(text) / 2, y);
    }

    /// An arrow to the right.
    pub(crate) fn arrow(&mut self, (x, y): (u32, u32), to: u32, ink: Ink) {
        let (colour, dashes) = (ink.colour(), ink.dashes());
        let _ = writeln!(
            self.body,
            "<path d=\"M{x} {y}H{}\" stroke=\"{colour}\" stroke-width=\"2\"{dashes} fill=\"none\"/>\
             <path d=\"M{to} {y}l-9 -5v10z\" fill=\"{colour}\"/>",
            to.saturating_sub(8)
        );
        self.reach(to, y);
    }

    fn reach(&mut self, right: u32, bottom: u32) {
        self.width = self.width.max(right);
        self.height = self.height.max(bottom);
    }

    /// The whole file; `title` in a few words, `description` for those who hear it.
    pub(crate) fn file(&self, title: &str, description: &str) -> String {
        let (width, height) = (self.width + 16, self.height + 16);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
             role=\"img\" font-family=\"DejaVu Sans, Verdana, sans-serif\" font-size=\"{SIZE}\">\n\
             {}<desc>{}</desc>\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n{}</svg>\n",
            titled(title),
            escaped(description),
            self.body
        )
    }
}

const fn anchored(anchor: Anchor) -> &'static str {
    match anchor {
        Anchor::Start => "",
        Anchor::Middle => " text-anchor=\"middle\"",
        Anchor::End => " text-anchor=\"end\"",
    }
}

fn titled(title: &str) -> String {
    if title.is_empty() { String::new() } else { format!("<title>{}</title>", escaped(title)) }
}

/// A text as XML 1.0 holds it (<https://www.w3.org/TR/xml/#charsets>); other control characters are left out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            '\u{fffe}' | '\u{ffff}' => {}
            c if c.is_control() && !matches!(c, '\n' | '\t') => {}
            c => out.push(c),
        }
    }
    out
}

/// A text cut to so many letters.
pub(crate) fn cut(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    text.chars().take(letters.saturating_sub(1)).chain(['…']).collect()
}
