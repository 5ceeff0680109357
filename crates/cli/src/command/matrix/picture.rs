//! `bulkhead matrix --svg`: sources in rows, targets in columns, a coloured cell where something passes.

use std::collections::BTreeMap;

use api::{Cell, Verdict};

use super::{Picture as Answer, is_governed, shown_parties};
use crate::picture::{Anchor, Ink, Picture, cut, room};

/// Height of a cell.
const ROW: u32 = 30;
/// Letters for which a cell has room: at least, at most.
const LETTERS: (usize, usize) = (5, 18);
/// From the edges.
const GAP: u32 = 16;

pub(crate) fn svg(answer: &Answer) -> String {
    let matrix = &answer.matrix;
    let shown = shown_parties(matrix);
    let name = |at: usize| matrix.parties.get(at).map_or("", |party| party.name.as_str());
    let widest = shown.iter().map(|at| room(name(*at))).max().unwrap_or(0);
    let (left, top) = (GAP + widest + 8, GAP + widest * 9 / 10 + 34);
    let mut cells: BTreeMap<(usize, usize), Vec<&Cell>> = BTreeMap::new();
    for cell in &matrix.cells {
        cells.entry((cell.from as usize, cell.to as usize)).or_default().push(cell);
    }
    let longest = cells.values().map(|open| short(open).chars().count()).max().unwrap_or(0);
    let wide = longest.clamp(LETTERS.0, LETTERS.1);
    let cell = room(&"0".repeat(wide)) + 12;
    let mut picture = Picture::default();
    let title = format!("Who may reach whom, generation {}", matrix.generation);
    picture.text((GAP, 24), Anchor::Start, Ink::Plain, &title);
    for (column, to) in (0_u32..).zip(&shown) {
        picture.upwards((left + column * cell + cell / 2, top - 6), Ink::Plain, name(*to));
    }
    for (row, from) in (0_u32..).zip(&shown) {
        let y = top + row * ROW;
        picture.text((left - 8, y + 20), Anchor::End, Ink::Plain, name(*from));
        for (column, to) in (0_u32..).zip(&shown) {
            let at = (left + column * cell, y);
            let open = cells.get(&(*from, *to)).map_or(&[][..], Vec::as_slice);
            let pair = format!("{} → {}", name(*from), name(*to));
            if is_governed(matrix, *from, *to) {
                entry(&mut picture, at, (cell - 4, wide), open, &pair);
            }
        }
    }
    let bottom = top + u32::try_from(shown.len()).unwrap_or(0) * ROW + 24;
    let legend = "· closed; a service passes, of TCP where nothing else is said; ~ passes and is recorded (audit); ↪ through a published port";
    picture.text((GAP, bottom), Anchor::Start, Ink::Faint, legend);
    let open = cells.len();
    picture.file(&title, &format!("{open} ordered pairs are open; all others are closed"))
}

/// One cell of so many pixels and letters.
fn entry(
    picture: &mut Picture,
    (x, y): (u32, u32),
    (width, letters): (u32, usize),
    open: &[&Cell],
    pair: &str,
) {
    let size = (width, ROW - 4);
    let middle = (x + width / 2, y + 18);
    if open.is_empty() {
        picture.area((x, y), size, Ink::Faint, &format!("{pair}: closed"));
        picture.text(middle, Anchor::Middle, Ink::Faint, "·");
        return;
    }
    let is_audit = open.iter().all(|cell| cell.verdict == Verdict::Audit);
    let ink = if is_audit { Ink::Warn } else { Ink::Good };
    let words: Vec<String> = open.iter().map(|cell| service(cell)).collect();
    picture.area((x, y), size, ink, &format!("{pair}: {}", words.join(", ")));
    picture.text(middle, Anchor::Middle, ink, &cut(&short(open), letters));
}

/// What a cell shows: `6379`, `~8080`, `↪443`; ports without a protocol are TCP.
fn short(open: &[&Cell]) -> String {
    let words = open.iter().map(|cell| service(cell).replace("/tcp", "").replace(" (audit)", ""));
    let is_audit = open.iter().all(|cell| cell.verdict == Verdict::Audit);
    let sign = if is_audit { "~" } else { "" };
    format!("{sign}{}", words.collect::<Vec<_>>().join(" "))
}

fn service(cell: &Cell) -> String {
    let way = if cell.published.is_some() { "↪" } else { "" };
    let audit = if cell.verdict == Verdict::Audit { " (audit)" } else { "" };
    format!("{way}{}{audit}", cell.service)
}
