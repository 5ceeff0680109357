//! ELF objects for the kernel: taking out what it does not read, and comparing what it does.
//!
//! Two builds in different folders differ in type information (paths, lines) and in the hashed names of functions, never
//! in code. So sections are compared by their bytes, and relocations by where they lead rather than by name.

use std::collections::BTreeMap;

use anyhow::Result;
use object::build::elf::{Builder, SectionData};
use object::read::elf::ElfFile64;
use object::read::{Object, ObjectSection, ObjectSymbol, RelocationTarget};

/// Sections that say how to read the object, not what it does.
const DESCRIPTIVE: &[&str] =
    &[".BTF", ".BTF.ext", ".llvm_addrsig", ".strtab", ".shstrtab", ".symtab", ".comment"];

/// What the kernel gets of one section.
#[derive(Debug, PartialEq, Eq)]
struct Section {
    bytes: Vec<u8>,
    /// Offset, and what is put there.
    relocations: Vec<(u64, String)>,
}

/// The object without DWARF; BTF, code, maps, licence and symbols stay as they are.
///
/// # Errors
/// When it is no 64-bit ELF object.
pub(super) fn without_debug_sections(object: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(object)?;
    for section in &mut builder.sections {
        let name = section.name.to_string();
        // Type information holds its offsets already; its relocations, a third of the file, tell nothing more.
        section.delete = name.starts_with(".debug_")
            || name.starts_with(".rel.debug_")
            || name.starts_with(".rel.BTF");
    }
    // The linker keeps the names of sections and symbols in one table; the writer wants one for each.
    if !builder.sections.iter().any(|section| matches!(section.data, SectionData::SectionString)) {
        let names = builder.sections.add();
        names.name = ".shstrtab".into();
        names.sh_type = object::elf::SHT_STRTAB;
        names.sh_addralign = 1;
        names.data = SectionData::SectionString;
    }
    builder.delete_orphans();
    let mut bytes = Vec::new();
    builder.write(&mut bytes)?;
    Ok(bytes)
}

/// Names of the sections that differ, each with how.
///
/// # Errors
/// When one of them is no 64-bit ELF object.
pub(super) fn differences(kept: &[u8], built: &[u8]) -> Result<Vec<String>> {
    let (kept, built) = (sections(kept)?, sections(built)?);
    let mut names: Vec<&String> = kept.keys().chain(built.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let difference = |name: &String| match (kept.get(name), built.get(name)) {
        (Some(kept), Some(built)) if kept == built => None,
        (Some(kept), Some(built)) if kept.bytes == built.bytes => {
            Some(format!("{name} (relocations)"))
        }
        (Some(_), Some(_)) => Some(format!("{name} (contents)")),
        (None, _) => Some(format!("{name} (missing)")),
        (_, None) => Some(format!("{name} (no longer built)")),
    };
    Ok(names.into_iter().filter_map(difference).collect())
}

fn sections(object: &[u8]) -> Result<BTreeMap<String, Section>> {
    let file = ElfFile64::<object::Endianness>::parse(object)?;
    let mut sections = BTreeMap::new();
    for section in file.sections() {
        let name = section.name()?;
        if name.is_empty()
            || name.starts_with(".debug_")
            || name.starts_with(".rel")
            || DESCRIPTIVE.contains(&name)
        {
            continue;
        }
        let mut relocations = Vec::new();
        for (offset, relocation) in section.relocations() {
            relocations.push((offset, target(&file, relocation.target())?));
        }
        sections.insert(name.to_owned(), Section { bytes: section.data()?.to_vec(), relocations });
    }
    Ok(sections)
}

/// Section and offset that a relocation leads to; the name too where it means something (maps are found by name).
fn target(file: &ElfFile64<'_>, target: RelocationTarget) -> Result<String> {
    let RelocationTarget::Symbol(index) = target else { return Ok(format!("{target:?}")) };
    let symbol = file.symbol_by_index(index)?;
    let Some(section) = symbol.section_index() else { return Ok(symbol.name()?.to_owned()) };
    let place = file.section_by_index(section)?.name()?.to_owned();
    let name = if place == "maps" || place == ".maps" { symbol.name()? } else { "" };
    Ok(format!("{place}+{}{name}", symbol.address()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Vec<u8> {
        let workspace = crate::workspace::Workspace::here();
        workspace.read("crates/host/bpf/bulkhead.o").expect("the kernel programs are committed")
    }

    #[test]
    fn an_object_equals_itself_and_its_stripped_self() {
        let object = kept();
        let stripped = without_debug_sections(&object).expect("an ELF object");
        assert_eq!(differences(&object, &object).expect("an ELF object"), Vec::<String>::new());
        assert_eq!(differences(&object, &stripped).expect("an ELF object"), Vec::<String>::new());
        assert!(stripped.len() <= object.len());
    }

    #[test]
    fn one_changed_instruction_is_noticed() {
        let object = kept();
        let file =
            ElfFile64::<object::Endianness>::parse(object.as_slice()).expect("an ELF object");
        let code = file.section_by_name("classifier").expect("programs for tc");
        let (offset, len) = code.file_range().expect("code is in the file");
        let mut changed = object.clone();
        changed[usize::try_from(offset + len / 2).expect("a short file")] ^= 1;
        assert_eq!(
            differences(&object, &changed).expect("an ELF object"),
            ["classifier (contents)"]
        );
    }
}
