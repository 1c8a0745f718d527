//! Tiles in the tile registers of AMX.

use std::arch::asm;
use std::arch::x86_64::{__cpuid_count, _mm512_loadu_ps};
use std::mem::{MaybeUninit, offset_of};

use super::{COLS, Line, Registers, TILE_ROWS, Tile, avx512};

/// Rows of a register.
const REGISTER_ROWS: usize = TILE_ROWS / 2;

/// What a tile is made of and where it goes.
#[repr(C, align(64))]
struct Work {
    /// What is multiplied first.
    first: Run,
    /// What is multiplied then; nothing where its depth is 0.
    more: Run,
    /// Where sums of the upper rows go and of the lower ones, and how many bytes their rows are apart.
    to: Rows,
    /// Where sums of an earlier run are, likewise; none where it begins with 0.
    from: Rows,
    /// Sums of the upper rows of a tile, then from row 16 on those of the lower ones, which are not stored as they are.
    sums: MaybeUninit<[[f32; COLS]; TILE_ROWS]>,
}

/// Where the upper rows of a tile are, the lower ones, and how many bytes from one to the next.
#[repr(C)]
#[derive(Clone, Copy)]
struct Rows {
    upper: *mut f32,
    lower: *mut f32,
    row: usize,
}

const NOWHERE: Rows = Rows { upper: std::ptr::null_mut(), lower: std::ptr::null_mut(), row: 0 };

/// Lines along k: where the upper rows' are, the lower rows', B's, and how many.
#[repr(C)]
struct Run {
    upper: *const [Line; 2],
    lower: *const [Line; 2],
    b: *const Line,
    depth: usize,
}

/// `ldtilecfg`'s argument: palette 1, then bytes a row and rows of each register.
#[repr(C)]
struct Config {
    palette: u8,
    start: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Does the CPU have AMX-TILE and AMX-BF16, and does the system let this process keep tiles?
pub(super) fn is_usable() -> bool {
    const BF16_AND_TILE: u32 = 1 << 22 | 1 << 24; // leaf 7, edx
    const REQUEST_PERMISSION: libc::c_long = 0x1023; // ARCH_REQ_XCOMP_PERM
    const TILE_DATA: libc::c_long = 18; // XFEATURE_XTILEDATA
    __cpuid_count(7, 0).edx & BF16_AND_TILE == BF16_AND_TILE
        // SAFETY: asks for a larger register file for every thread of this process; touches no memory.
        && unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) } == 0
}

/// Sets the registers up for tiles of `rows` rows: 0 and 1 hold the sums of the upper half of the rows, 2 and 3 of the lower half, which
/// is the upper half once more for a single row; 4 and 5 have a line of A's rows, first their roundings, then the rests, 6 and 7 a line
/// of 16 columns of B each.
///
/// SAFETY: [`is_usable`]; `rows` is 1 to 32.
unsafe fn set_up(rows: usize) {
    let [u, l] = [rows.div_ceil(2) as u8, (rows / 2).max(1) as u8];
    let (mut rows, mut row_bytes) = ([0; 16], [0; 16]);
    rows[..8].copy_from_slice(&[u, u, l, l, u, l, 16, 16]);
    row_bytes[..8].fill(64);
    let config = Config { palette: 1, start: 0, reserved: [0; 14], row_bytes, rows };
    // SAFETY: reads the 64 bytes of `config`, which keep to the limits of palette 1.
    unsafe { asm!("ldtilecfg [{config}]", config = in(reg) &raw const config, options(nostack, readonly)) };
}

/// Gives the registers up.
pub(super) fn release() {
    // SAFETY: whoever calls this has set them up, so there are such registers.
    unsafe { asm!("tilerelease", options(nostack, nomem)) };
}

/// Computes the tile of `a`, depth x rows lines, and of `more`, and stores it at `c`, whose rows are `row` numbers apart.
///
/// SAFETY: [`is_usable`] and AVX-512; `a` holds depth x `t.rows` lines, `t.b` depth x 32, and so do the two of `more`; `t.rows` is 1 to
/// 32; `t.rows` rows of `t.cols` numbers at `c` are writable by this thread alone, as many at `t.base` readable; where it
/// resumes or is not the last run, `t.cols` is 32, and where it resumes, sums are at `c`.
pub(super) unsafe fn tile(
    t: &Tile,
    a: &[[Line; 2]],
    more: Option<(&[[Line; 2]], &[Line])>,
    c: *mut f32,
    row: usize,
    registers: &mut Registers,
) {
    // SAFETY: the caller's promises.
    unsafe {
        if registers.rows != t.rows {
            set_up(t.rows);
            registers.rows = t.rows;
        }
        match t.fetch {
            0 => tile_fetching::<0>(t, a, more, c, row),
            1 => tile_fetching::<1>(t, a, more, c, row),
            _ => tile_fetching::<2>(t, a, more, c, row),
        }
    }
}

/// Asks for some of the lines that are needed next, in between so that not all wait at once.
macro_rules! ask {
    () => {
        ".rept {fetch}\nprefetcht1 [{ahead}]\nadd {ahead}, 64\n.endr"
    };
}

/// [`tile`] for a `t.fetch`.
///
/// SAFETY: as [`tile`]; registers are set up.
unsafe fn tile_fetching<const FETCH: usize>(t: &Tile, a: &[[Line; 2]], more: Option<(&[[Line; 2]], &[Line])>, c: *mut f32, row: usize) {
    let (upper, lower) = (t.rows.div_ceil(2), (t.rows / 2).max(1));
    let run = |a: &[[Line; 2]], b: &[Line]| Run {
        upper: a.as_ptr(),
        lower: a.as_ptr().wrapping_add(t.rows - lower),
        b: b.as_ptr(),
        depth: b.len() / COLS,
    };
    let (mut first, mut more) = (run(a, t.b), more.map_or(run(&[], &[]), |(a, b)| run(a, b)));
    if first.depth == 0 {
        std::mem::swap(&mut first, &mut more);
    }
    let mut work = Work { first, more, to: NOWHERE, from: NOWHERE, sums: MaybeUninit::uninit() };
    let as_they_are = !t.last || (t.base.is_none() && t.alpha == 1.0 && t.cols == COLS);
    let sums = work.sums.as_mut_ptr().cast::<f32>();
    let at_c = Rows { upper: c, lower: c.wrapping_add((t.rows - lower) * row), row: size_of::<f32>() * row };
    work.to = match as_they_are {
        true => at_c,
        false => Rows { upper: sums, lower: sums.wrapping_add(REGISTER_ROWS * COLS), row: size_of::<f32>() * COLS },
    };
    if t.resumes {
        work.from = at_c;
    }
    if work.first.depth > 0 {
        // SAFETY: per line along k, 128 bytes of `t.rows` rows of `a` and 16 x 128 bytes of `b` are read, `depth` times, in both runs.
        // Stored are `upper` and `lower` rows of 128 bytes, at `c`, whose rows they are, where they are also read from, or at `sums`,
        // which has room for 16 each. `ahead` is only hinted at. The registers are this thread's and set up.
        unsafe {
            asm!(
                "mov {depth}, [{work} + {from}]",
                "test {depth}, {depth}",
                "jz 3f",
                "mov {upper}, [{work} + {from} + 8]",
                "mov {b}, [{work} + {from} + 16]",
                "tileloadd tmm0, [{depth} + {b}]",
                "tileloadd tmm1, [{depth} + {b} + 64]",
                "tileloadd tmm2, [{upper} + {b}]",
                "tileloadd tmm3, [{upper} + {b} + 64]",
                "jmp 4f",
                "3:",
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "4:",
                "mov {upper}, [{work} + {first}]",
                "mov {lower}, [{work} + {first} + 8]",
                "mov {b}, [{work} + {first} + 16]",
                "mov {depth}, [{work} + {first} + 24]",
                "2:",
                "tileloadd tmm4, [{upper} + {pair}]",
                "tileloadd tmm6, [{b} + {pair}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                ask!(),
                "tileloadd tmm7, [{b} + {pair} + 64]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                ask!(),
                "tileloadd tmm5, [{lower} + {pair}]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                ask!(),
                "tdpbf16ps tmm3, tmm5, tmm7",
                ask!(),
                "tileloadd tmm4, [{upper} + {pair} + 64]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                ask!(),
                "tdpbf16ps tmm1, tmm4, tmm7",
                ask!(),
                "tileloadd tmm5, [{lower} + {pair} + 64]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                ask!(),
                "tdpbf16ps tmm3, tmm5, tmm7",
                ask!(),
                "add {upper}, {step}",
                "add {lower}, {step}",
                "add {b}, 2048",
                "dec {depth}",
                "jnz 2b",
                "xchg {depth}, [{work} + {more} + 24]", // 0 the second time
                "mov {upper}, [{work} + {more}]",
                "mov {lower}, [{work} + {more} + 8]",
                "mov {b}, [{work} + {more} + 16]",
                "test {depth}, {depth}",
                "jnz 2b",
                "mov {upper}, [{work} + {to}]",
                "mov {lower}, [{work} + {to} + 8]",
                "mov {b}, [{work} + {to} + 16]",
                "tilestored [{upper} + {b}], tmm0",
                "tilestored [{upper} + {b} + 64], tmm1",
                "tilestored [{lower} + {b}], tmm2",
                "tilestored [{lower} + {b} + 64], tmm3",
                work = in(reg) &raw mut work,
                upper = out(reg) _,
                lower = out(reg) _,
                b = out(reg) _,
                depth = out(reg) _,
                ahead = inout(reg) t.ahead => _,
                fetch = const 2 * FETCH, // 16 pairs a line along k, asked for in eight places
                step = in(reg) size_of::<[Line; 2]>() * t.rows,
                pair = in(reg) size_of::<[Line; 2]>(), // from one row of A, or of B's pairs, to the next
                first = const offset_of!(Work, first),
                more = const offset_of!(Work, more),
                from = const offset_of!(Work, from),
                to = const offset_of!(Work, to),
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
        if as_they_are {
            return;
        }
    } else {
        work.sums.write([[0.0; COLS]; TILE_ROWS]);
    }
    // SAFETY: `put` reads the rows that the registers have, which were stored; the caller's promise.
    unsafe { put(t, work.sums.as_ptr().cast(), upper, c, row) };
}

/// Stores a tile's sums, of which `upper` rows are in the upper half.
///
/// SAFETY: AVX-512; at `sums` are `upper` rows of 32 numbers and from row 16 on the others; `t.rows` rows of `t.cols` numbers at `c`
/// are writable, as many at `t.base` readable.
#[target_feature(enable = "avx512f")]
unsafe fn put(t: &Tile, sums: *const f32, upper: usize, c: *mut f32, row: usize) {
    for r in 0..t.rows {
        let from = if r < upper { r } else { REGISTER_ROWS + r - upper };
        // SAFETY: the caller's promise.
        unsafe {
            let sums = sums.add(from * COLS);
            avx512::put_row(t, t.base, r, [_mm512_loadu_ps(sums), _mm512_loadu_ps(sums.add(16))], c.add(r * row));
        }
    }
}
