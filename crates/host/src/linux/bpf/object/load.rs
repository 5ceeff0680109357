//! The object file into the kernel: its maps, then its programs, examined side by side.
//!
//! The loader library takes the file apart and resolves what refers to what; the calls are ours, for
//! two reasons. Its own loader begins by reading the types of the running kernel, some hundred
//! thousand, which only programs with CO-RE relocations need: ours have none, because they see packets
//! and maps alone. And the kernel examines programs of privileged processes without a common lock
//! (kernel/bpf/verifier.c, `bpf_check`: `bpf_verifier_lock` is for others), so each has a thread here.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread;

use aya::EbpfError;
use aya::programs::ProgramError;
use aya_obj::generated::bpf_insn;
use aya_obj::{Function, Object, VerifierLog};

use super::super::sys::program::{self, Code, Types};
use super::super::sys::{self, MapShape};
use super::super::{Error, Limits};
use super::{Group, MAPS, Program};

/// A map of the object and its descriptor in the kernel.
type Map = (String, aya_obj::Map, OwnedFd);

/// Loads a group of the object over the maps that are pinned in `maps`; pins those it had to make. The programs
/// are in the order of [`Group::programs`].
pub(super) fn load(
    maps: &Path,
    limits: &Limits,
    file: &[u8],
    group: Group,
) -> Result<Vec<OwnedFd>, Error> {
    let unusable = |error: EbpfError| Error::Object(Box::new(error));
    let mut object = Object::parse(file).map_err(|error| unusable(error.into()))?;
    let types = types(&mut object).map_err(unusable)?;
    let made = prepare_maps(&mut object, maps, limits)?;
    relocate(&mut object, &made).map_err(unusable)?;
    thread::scope(|scope| {
        let spawn = |program: &Program| {
            let (program, object, types) = (*program, &object, types.as_ref());
            scope.spawn(move || load_program(object, program, types.map(|fd| fd.as_fd())))
        };
        let loading: Vec<_> = group.programs().iter().map(spawn).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Result<OwnedFd, Error>>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        loading.into_iter().map(join).collect()
    })
}

/// Gives the kernel the names of types, functions and lines; `None` when it takes none.
fn types(object: &mut Object) -> Result<Option<OwnedFd>, EbpfError> {
    let Some(features) = aya::features().btf() else { return Ok(None) };
    let Some(types) = object.fixup_and_sanitize_btf(features)? else { return Ok(None) };
    let loaded = program::load_types(&types.to_bytes());
    Ok(loaded.inspect_err(|error| tracing::debug!(%error, "programs stay without names")).ok())
}

/// Opens the pinned maps and makes the missing ones.
fn prepare_maps(object: &mut Object, pins: &Path, limits: &Limits) -> Result<Vec<Map>, Error> {
    let sizes = limits.by_map();
    let prepare = |(name, map): (String, aya_obj::Map)| {
        let size = sizes.iter().find(|(sized, _)| *sized == name);
        let shape = MapShape {
            kind: map.map_type(),
            key_bytes: map.key_size(),
            value_bytes: map.value_size(),
            entries: size.map_or_else(|| map.max_entries(), |(_, entries)| *entries),
            flags: map.map_flags(),
            ..MapShape::default()
        };
        let pin = MAPS.contains(&name.as_str()).then(|| pins.join(&name));
        let fd = open_or_make(&name, &shape, pin.as_deref())?;
        Ok((name, map, fd))
    };
    object.maps.drain().map(prepare).collect()
}

fn open_or_make(name: &str, shape: &MapShape, pin: Option<&Path>) -> Result<OwnedFd, Error> {
    if let Some(pin) = pin {
        match sys::open(pin) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => {
                let failed = |source| Error::Open { name: format!("map {name}"), source };
                return result.map_err(failed);
            }
        }
    }
    let made = program::create_named_map(name, shape)
        .map_err(|source| Error::Map { name: name.to_owned(), source })?;
    if let Some(pin) = pin {
        sys::pin(made.as_fd(), pin)
            .map_err(|source| Error::Pin { name: format!("map {name}"), source })?;
    }
    Ok(made)
}

/// Puts descriptors of maps and places of functions into the instructions.
fn relocate(object: &mut Object, maps: &[Map]) -> Result<(), EbpfError> {
    let sections: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    let maps = maps.iter().map(|(name, map, fd)| (name.as_str(), fd.as_raw_fd(), map));
    object.relocate_maps(maps, &sections)?;
    object.relocate_calls(&sections)?;
    object.sanitize_functions(aya::features());
    Ok(())
}

fn load_program(
    object: &Object,
    program: Program,
    types: Option<BorrowedFd<'_>>,
) -> Result<OwnedFd, Error> {
    let name = program.name();
    let found = object.programs.get(name);
    let found = found.and_then(|found| Some((found, object.functions.get(&found.function_key())?)));
    let Some((found, function)) = found else { return Err(Error::MapGone(name)) };
    let (functions, lines) =
        (function.func_info.func_info_bytes(), function.line_info.line_info_bytes());
    let code = Code {
        name,
        purpose: program.purpose(),
        instructions: &bytes(function),
        license: &found.license,
        types: types.map(|btf| Types {
            btf,
            functions: (&functions, function.func_info_rec_size),
            lines: (&lines, function.line_info_rec_size),
        }),
    };
    program::load_program(&code).map_err(|refusal| {
        let verifier_log = VerifierLog::new(refusal.messages);
        let source = ProgramError::LoadError { io_error: refusal.source, verifier_log };
        Error::Program { name, source: Box::new(source) }
    })
}

/// The instructions as the kernel reads them (include/uapi/linux/bpf.h, `struct bpf_insn`).
fn bytes(function: &Function) -> Vec<u8> {
    let one = |instruction: &bpf_insn| {
        let [low, high] = instruction.off.to_ne_bytes();
        let registers = instruction.dst_reg() | instruction.src_reg() << 4;
        let [a, b, c, d] = instruction.imm.to_ne_bytes();
        [instruction.code, registers, low, high, a, b, c, d]
    };
    function.instructions.iter().flat_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::super::OBJECT;
    use super::*;

    #[test]
    fn the_object_asks_for_nothing_that_is_not_done_here() {
        let object = Object::parse(OBJECT).expect("an object file");
        for (name, map) in &object.maps {
            assert!(map.data().is_empty(), "{name} would begin without its contents");
        }
        assert!(!object.has_btf_relocations(), "the types of the running kernel are not read");
    }

    #[test]
    fn every_program_of_the_object_is_in_a_group() {
        let object = Object::parse(OBJECT).expect("an object file");
        let groups = [Group::Interfaces, Group::Places, Group::Cgroups];
        let all =
            groups.iter().flat_map(|group| group.programs().iter().map(move |one| (group, one)));
        let mut names: Vec<&str> = Vec::new();
        for (group, program) in all {
            assert_eq!(program.group(), *group, "{program:?}");
            names.push(program.name());
        }
        names.sort_unstable();
        let mut wanted: Vec<&str> = object.programs.keys().map(String::as_str).collect();
        wanted.sort_unstable();
        assert_eq!(names, wanted);
    }
}
