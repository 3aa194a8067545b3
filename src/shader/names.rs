//! The names in WGSL text: which of them it declares, and how it reads with others in their place.

/// WGSL text taken apart at its names, without comments; its lines stay.
pub(super) struct Names<'a>(Vec<Piece<'a>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece<'a> {
    /// What cannot be a name of the module: keywords, members, attributes, numbers, marks, blanks.
    Other(&'a str),
    /// A name where it is used, and whether it is called.
    Used(&'a str, bool),
    /// A name where the module declares it, and whether it is a function's.
    Declared(&'a str, bool),
}

impl<'a> Piece<'a> {
    fn text(self) -> &'a str {
        match self {
            Self::Other(text) | Self::Used(text, _) | Self::Declared(text, _) => text,
        }
    }
}

/// A declaration of a module.
pub(super) struct Declaration<'n, 'a> {
    pub name: &'a str,
    pub is_function: bool,
    pieces: &'n [Piece<'a>],
}

impl<'a> Names<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let tokens = tokens(text);
        let mut pieces: Vec<Piece<'_>> = tokens.iter().map(|t| Piece::Other(t.1)).collect();
        let solid = tokens.iter().enumerate();
        let solid = solid.filter(|(_, (kind, _))| *kind != Kind::Blank);
        let solid: Vec<usize> = solid.map(|(i, _)| i).collect();
        // How many braces are open; those of a structure's members; whether a name is declared next,
        // and a function's; the mark that ends words which name nothing.
        let (mut depth, mut members, mut structure) = (0_usize, None, false);
        let (mut declares, mut until) = (None, None);
        for (n, &i) in solid.iter().enumerate() {
            let (kind, text) = tokens[i];
            let before = n.checked_sub(1).map_or("", |n| tokens[solid[n]].1);
            let after = solid.get(n + 1).map_or("", |&i| tokens[i].1);
            if until.is_some() {
                until = until.filter(|end| *end != text);
                continue;
            }
            match text {
                "{" => {
                    depth += 1;
                    if std::mem::take(&mut structure) {
                        members = Some(depth);
                    }
                }
                "}" => {
                    members = members.filter(|of| *of != depth);
                    depth = depth.saturating_sub(1);
                }
                "fn" | "struct" | "alias" | "override" => {
                    declares = Some(text == "fn");
                    structure = text == "struct";
                }
                "const" if depth == 0 => declares = Some(false),
                "var" if depth == 0 => {
                    declares = Some(false);
                    // An address space and an access mode.
                    until = (after == "<").then_some(">");
                }
                "builtin" | "interpolate" | "diagnostic" if before == "@" && after == "(" => {
                    until = Some(")");
                }
                _ if has(KEYWORDS, text) => declares = None,
                _ if kind != Kind::Word || before == "." || before == "@" => {}
                _ if members == Some(depth) && after == ":" => {}
                _ => {
                    pieces[i] = match declares.take() {
                        Some(is_function) => Piece::Declared(text, is_function),
                        None => Piece::Used(text, after == "("),
                    };
                }
            }
        }
        Self(pieces)
    }

    /// The names that the module declares.
    pub(super) fn declared(&self) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Declared(name, _) => Some(*name),
            _ => None,
        })
    }

    /// Every word that may name something of a module.
    #[cfg(test)]
    pub(super) fn words(&self) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Other(_) => None,
            named => Some(named.text()),
        })
    }

    /// The line that declares a name, from 0.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn line_of(&self, name: &str) -> Option<usize> {
        let is_name = |piece: &Piece<'_>| matches!(piece, Piece::Declared(own, _) if *own == name);
        let place = self.0.iter().position(is_name)?;
        let before = self.0[..place].iter();
        Some(before.map(|piece| piece.text().matches('\n').count()).sum())
    }

    /// The text with a prefix before every name that the module declares, wherever it stands.
    pub(super) fn with_prefix(&self, prefix: &str) -> String {
        let own: Vec<&str> = self.declared().collect();
        written(&self.0, prefix, |name| own.contains(&name))
    }

    /// The module's declarations, in order.
    pub(super) fn declarations<'n>(&'n self) -> Vec<Declaration<'n, 'a>> {
        let (mut all, mut depth, mut start) = (Vec::new(), 0, 0);
        let mut found = None;
        for (i, piece) in self.0.iter().enumerate() {
            match piece {
                Piece::Declared(name, is_function) => found = Some((*name, *is_function)),
                Piece::Other("{") => depth += 1,
                Piece::Other("}") => depth -= 1,
                _ => {}
            }
            if depth == 0 && matches!(piece, Piece::Other("}" | ";")) {
                if let Some((name, is_function)) = found.take() {
                    all.push(Declaration {
                        name,
                        is_function,
                        pieces: &self.0[start..=i],
                    });
                }
                start = i + 1;
            }
        }
        all
    }
}

impl<'a> Declaration<'_, 'a> {
    /// The names that are used in it, with whether each is called.
    pub(super) fn uses(&self) -> impl Iterator<Item = (&'a str, bool)> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Used(name, called) => Some((*name, *called)),
            _ => None,
        })
    }

    /// The text with a prefix before names that are `own`, without empty lines.
    pub(super) fn with_prefix(&self, prefix: &str, own: impl Fn(&str) -> bool) -> String {
        let text = written(self.pieces, prefix, own);
        let lines = text.lines().map(str::trim_end);
        let lines = lines.filter(|line| !line.is_empty());
        lines.map(|line| format!("{line}\n")).collect()
    }
}

fn written(pieces: &[Piece<'_>], prefix: &str, own: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Used(name, _) | Piece::Declared(name, _) if own(name) => text.push_str(prefix),
            _ => {}
        }
        text.push_str(piece.text());
    }
    text
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Identifiers and keywords.
    Word,
    /// Numbers and punctuation.
    Mark,
    /// Blanks, and what is left of comments.
    Blank,
}

fn tokens(text: &str) -> Vec<(Kind, &str)> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(comment) = comment(rest) {
            tokens.push((Kind::Blank, " "));
            let lines = comment.matches('\n').map(|end| (Kind::Blank, end));
            tokens.extend(lines);
            rest = &rest[comment.len()..];
            continue;
        }
        let (kind, length) = if rest.starts_with("/*") {
            // It has no end; that is for the compiler to say.
            (Kind::Mark, rest.len())
        } else if is_blank(first) {
            (Kind::Blank, length_while(rest, is_blank))
        } else if let Some(length) = number(rest.as_bytes()) {
            (Kind::Mark, length)
        } else if is_word(first) {
            (Kind::Word, length_while(rest, is_word))
        } else {
            (Kind::Mark, first.len_utf8())
        };
        let (token, behind) = rest.split_at(length);
        tokens.push((kind, token));
        rest = behind;
    }
    tokens
}

fn length_while(text: &str, is: impl Fn(char) -> bool) -> usize {
    text.find(|c| !is(c)).unwrap_or(text.len())
}

/// What a WGSL identifier may be made of, or no WGSL has at all.
fn is_word(c: char) -> bool {
    c == '_' || c.is_ascii_alphanumeric() || !(c.is_ascii() || is_blank(c))
}

fn is_line_end(c: char) -> bool {
    matches!(c, '\n'..='\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_blank(c: char) -> bool {
    is_line_end(c) || matches!(c, ' ' | '\t' | '\u{200e}' | '\u{200f}')
}

/// The comment that a text begins with.
fn comment(text: &str) -> Option<&str> {
    if text.starts_with("//") {
        return Some(&text[..length_while(text, |c| !is_line_end(c))]);
    }
    let bytes = text.as_bytes();
    let (mut depth, mut i) = (0, 0);
    while i < bytes.len() {
        match bytes.get(i..i + 2) {
            Some(b"/*") => depth += 1,
            Some(b"*/") if depth > 0 => depth -= 1,
            _ if depth > 0 => {
                i += 1;
                continue;
            }
            _ => return None,
        }
        i += 2;
        if depth == 0 {
            return Some(&text[..i]);
        }
    }
    None
}

/// The length of the number that a text begins with.
fn number(text: &[u8]) -> Option<usize> {
    let is_digit = |i: usize| text.get(i).is_some_and(u8::is_ascii_digit);
    if !(is_digit(0) || text.first() == Some(&b'.') && is_digit(1)) {
        return None;
    }
    let exponents: &[u8] = match text {
        [b'0', b'x' | b'X', ..] => b"pP",
        _ => b"eE",
    };
    let mut i = 1;
    while let Some(&c) = text.get(i) {
        let sign = matches!(c, b'+' | b'-') && exponents.contains(&text[i - 1]) && is_digit(i + 1);
        if !(sign || c == b'.' || c.is_ascii_alphanumeric()) {
            break;
        }
        i += 1;
    }
    Some(i)
}

/// What is wrong with a name that a caller's shader is to have for a function.
pub(super) fn problem(name: &str) -> Option<&'static str> {
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic());
    if !starts || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Some("it must be a letter, then letters, digits and underscores");
    }
    if has(KEYWORDS, name) || has(RESERVED, name) {
        return Some("WGSL keeps this word for itself; take another");
    }
    if has(PREDECLARED, name) {
        return Some("WGSL has something of this name, which would be hidden; take another");
    }
    None
}

/// Whether a list has a word.
fn has(list: &str, word: &str) -> bool {
    list.split_whitespace().any(|other| other == word)
}

/// The words that WGSL is written with.
const KEYWORDS: &str = "\
    alias break case const const_assert continue continuing default diagnostic discard else enable \
    false fn for if let loop override requires return struct switch true var while";

/// The words that WGSL keeps for later.
const RESERVED: &str = "\
    NULL Self abstract active alignas alignof as asm asm_fragment async attribute auto await \
    become cast catch class co_await co_return co_yield coherent column_major common compile \
    compile_fragment concept const_cast consteval constexpr constinit crate debugger decltype \
    delete demote demote_to_helper do dynamic_cast enum explicit export extends extern external \
    fallthrough filter final finally friend from fxgroup get goto groupshared highp impl \
    implements import inline instanceof interface layout lowp macro macro_rules match mediump \
    meta mod module move mut mutable namespace new nil noexcept noinline nointerpolation \
    non_coherent noncoherent noperspective null nullptr of operator package packoffset partition \
    pass patch pixelfragment precise precision premerge priv protected pub public readonly ref \
    regardless register reinterpret_cast require resource restrict self set shared sizeof smooth \
    snorm static static_assert static_cast std subroutine super target template this thread_local \
    throw trait try type typedef typeid typename typeof union unless unorm unsafe unsized use \
    using varying virtual volatile wgsl where with writeonly yield";

/// The types, values and functions that WGSL has, and naga beside it.
const PREDECLARED: &str = "\
    abs acceleration_structure acos acosh all any array arrayLength asin asinh atan atan2 atanh \
    atomic atomicAdd atomicAnd atomicCompareExchangeWeak atomicExchange atomicLoad atomicMax \
    atomicMin atomicOr atomicStore atomicSub atomicXor bgra8unorm binding_array bitcast bool ceil \
    clamp cos cosh countLeadingZeros countOneBits countTrailingZeros cross degrees determinant \
    distance dot dot4I8Packed dot4U8Packed dpdx dpdxCoarse dpdxFine dpdy dpdyCoarse dpdyFine exp \
    exp2 extractBits f16 f32 f64 faceForward firstLeadingBit firstTrailingBit floor fma fract \
    frexp function fwidth fwidthCoarse fwidthFine i32 i64 insertBits inverse inverseSqrt ldexp \
    length log log2 mat2x2 mat2x2f mat2x2h mat2x3 mat2x3f mat2x3h mat2x4 mat2x4f mat2x4h mat3x2 \
    mat3x2f mat3x2h mat3x3 mat3x3f mat3x3h mat3x4 mat3x4f mat3x4h mat4x2 mat4x2f mat4x2h mat4x3 \
    mat4x3f mat4x3h mat4x4 mat4x4f mat4x4h max min mix modf normalize outerProduct pack2x16float \
    pack2x16snorm pack2x16unorm pack4x8snorm pack4x8unorm pack4xI8 pack4xI8Clamp pack4xU8 \
    pack4xU8Clamp pow private ptr push_constant quadBroadcast quadSwapDiagonal quadSwapX \
    quadSwapY quantizeToF16 r16float r16sint r16snorm r16uint r16unorm r32float r32sint r32uint \
    r64uint r8sint r8snorm r8uint r8unorm radians ray_query read read_write reflect refract \
    reverseBits rg11b10ufloat rg16float rg16sint rg16snorm rg16uint rg16unorm rg32float rg32sint \
    rg32uint rg8sint rg8snorm rg8uint rg8unorm rgb10a2uint rgb10a2unorm rgba16float rgba16sint \
    rgba16snorm rgba16uint rgba16unorm rgba32float rgba32sint rgba32uint rgba8sint rgba8snorm \
    rgba8uint rgba8unorm round sampler sampler_comparison saturate select sign sin sinh \
    smoothstep sqrt step storage storageBarrier subgroupAdd subgroupAll subgroupAnd subgroupAny \
    subgroupBallot subgroupBroadcast subgroupBroadcastFirst subgroupElect subgroupExclusiveAdd \
    subgroupExclusiveMul subgroupInclusiveAdd subgroupInclusiveMul subgroupMax subgroupMin \
    subgroupMul subgroupOr subgroupShuffle subgroupShuffleDown subgroupShuffleUp \
    subgroupShuffleXor subgroupXor tan tanh texture_1d texture_2d texture_2d_array texture_3d \
    texture_cube texture_cube_array texture_depth_2d texture_depth_2d_array texture_depth_cube \
    texture_depth_cube_array texture_depth_multisampled_2d texture_external \
    texture_multisampled_2d texture_storage_1d texture_storage_2d texture_storage_2d_array \
    texture_storage_3d textureBarrier textureDimensions textureGather textureGatherCompare \
    textureLoad textureNumLayers textureNumLevels textureNumSamples textureSample \
    textureSampleBaseClampToEdge textureSampleBias textureSampleCompare textureSampleCompareLevel \
    textureSampleGrad textureSampleLevel textureStore transpose trunc u32 u64 uniform \
    unpack2x16float unpack2x16snorm unpack2x16unorm unpack4x8snorm unpack4x8unorm unpack4xI8 \
    unpack4xU8 vec2 vec2f vec2h vec2i vec2u vec3 vec3f vec3h vec3i vec3u vec4 vec4f vec4h vec4i \
    vec4u workgroup workgroupBarrier workgroupUniformLoad write";

#[cfg(test)]
mod tests {
    use super::*;

    /// naga's lists have nothing that these have not.
    #[test]
    fn what_wgsl_has_is_known() {
        let keywords = naga::keywords::wgsl::RESERVED;
        for word in keywords {
            assert!(has(KEYWORDS, word) || has(RESERVED, word), "{word}");
            assert!(problem(word).is_some(), "{word}");
        }
        for word in naga::keywords::wgsl::BUILTIN_IDENTIFIERS {
            assert!(problem(word).is_some(), "{word}");
        }
        assert_eq!(problem("activate"), None);
        for word in ["", "2x", "_x", "a b", "größe"] {
            assert!(problem(word).is_some(), "{word}");
        }
    }

    #[test]
    fn names_are_found_where_they_are_names() {
        let text = "
/* fn hidden() { /* nested */ } */ const two: f32 = 2.0e-1; // fn not(x)
@id(1) override wide: u32 = 0x1p-2u;
var<private> private : vec2<f32>;
struct x { @align(16) x: f32, two: array<f32, two>, }
alias f = f32;
fn y(@builtin(position) x: f, z: ptr<function, x>) -> f32 {
    const three = 3.0; var four = vec4(x, 1., .5e2,two);
    if x < four.x { return y(four.x, z).two + (*z).x - 1e-2; }
    return three;
}";
        let names = Names::of(text);
        let declared: Vec<&str> = names.declared().collect();
        assert_eq!(declared, ["two", "wide", "private", "x", "f", "y"]);
        assert_eq!(names.line_of("y"), Some(6));
        let wanted = "
     const p_two: f32 = 2.0e-1;  
@id(1) override p_wide: u32 = 0x1p-2u;
var<private> p_private : vec2<f32>;
struct p_x { @align(16) x: f32, two: array<f32, p_two>, }
alias p_f = f32;
fn p_y(@builtin(position) p_x: p_f, z: ptr<function, p_x>) -> f32 {
    const three = 3.0; var four = vec4(p_x, 1., .5e2,p_two);
    if p_x < four.x { return p_y(four.x, z).two + (*z).x - 1e-2; }
    return three;
}";
        let squeezed = |text: &str| -> Vec<String> {
            let lines = text.lines();
            lines
                .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
                .collect()
        };
        assert_eq!(squeezed(&names.with_prefix("p_")), squeezed(wanted));
        let declarations = names.declarations();
        let found: Vec<_> = declarations
            .iter()
            .map(|d| (d.name, d.is_function))
            .collect();
        let functions = [false, false, false, false, false, true];
        let wanted: Vec<_> = declared.into_iter().zip(functions).collect();
        assert_eq!(found, wanted);
        assert!(declarations[5].uses().any(|used| used == ("y", true)));
        assert!(declarations[5].uses().any(|used| used == ("two", false)));
    }

    #[test]
    fn what_is_no_wgsl_stays_as_it_is() {
        for text in [
            "/* no end",
            "fn let(x: f32) {}",
            "}}}",
            "$ ` \u{1}",
            "fn",
            "",
        ] {
            let names = Names::of(text);
            assert_eq!(names.declared().count(), 0);
            assert_eq!(names.with_prefix("p_"), text);
        }
    }
}
