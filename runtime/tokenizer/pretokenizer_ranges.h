// Classes of code points for regular expressions, as numbers: some letters here have a canonical form that an editor
// would put in their place.
#pragma once

namespace hearth::ranges {

// White_Space. PCRE2's own \s has U+180E besides, which Unicode took out in version 6.3.
inline constexpr const char* kSpace =
    R"(\x{9}-\x{D}\x{20}\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";

// Code points that got their general category in Unicode 14 to 16 (numbers: to 17), as the Hugging Face tokenizers
// have them. A PCRE2 may be as old as Unicode 13; with these added to \p{..} all give the same words. None of the older
// code points changed between these five classes since.
inline constexpr const char* kNewLetters =
    R"(\x{870}-\x{887}\x{889}-\x{88E}\x{8B5}\x{8C8}-\x{8C9}\x{C5D}\x{CDD}\x{170D}\x{171F}\x{1B4C}\x{1C89}-\x{1C8A})"
    R"(\x{2C2F}\x{2C5F}\x{9FFD}-\x{9FFF}\x{A7C0}-\x{A7C1}\x{A7CB}-\x{A7CD}\x{A7D0}-\x{A7D1}\x{A7D3}\x{A7D5}-\x{A7DC})"
    R"(\x{A7F2}-\x{A7F4}\x{10570}-\x{1057A}\x{1057C}-\x{1058A}\x{1058C}-\x{10592}\x{10594}-\x{10595})"
    R"(\x{10597}-\x{105A1}\x{105A3}-\x{105B1}\x{105B3}-\x{105B9}\x{105BB}-\x{105BC}\x{105C0}-\x{105F3})"
    R"(\x{10780}-\x{10785}\x{10787}-\x{107B0}\x{107B2}-\x{107BA}\x{10D4A}-\x{10D65}\x{10D6F}-\x{10D85})"
    R"(\x{10EC2}-\x{10EC4}\x{10F70}-\x{10F81}\x{11071}-\x{11072}\x{11075}\x{1123F}-\x{11240}\x{11380}-\x{11389})"
    R"(\x{1138B}\x{1138E}\x{11390}-\x{113B5}\x{113B7}\x{113D1}\x{113D3}\x{11740}-\x{11746}\x{11AB0}-\x{11ABF})"
    R"(\x{11BC0}-\x{11BE0}\x{11F02}\x{11F04}-\x{11F10}\x{11F12}-\x{11F33}\x{12F90}-\x{12FF0}\x{1342F})"
    R"(\x{13441}-\x{13446}\x{13460}-\x{143FA}\x{16100}-\x{1611D}\x{16A70}-\x{16ABE}\x{16D40}-\x{16D6C}\x{18CFF})"
    R"(\x{1AFF0}-\x{1AFF3}\x{1AFF5}-\x{1AFFB}\x{1AFFD}-\x{1AFFE}\x{1B11F}-\x{1B122}\x{1B132}\x{1B155})"
    R"(\x{1DF00}-\x{1DF1E}\x{1DF25}-\x{1DF2A}\x{1E030}-\x{1E06D}\x{1E290}-\x{1E2AD}\x{1E4D0}-\x{1E4EB})"
    R"(\x{1E5D0}-\x{1E5ED}\x{1E5F0}\x{1E7E0}-\x{1E7E6}\x{1E7E8}-\x{1E7EB}\x{1E7ED}-\x{1E7EE}\x{1E7F0}-\x{1E7FE})"
    R"(\x{2A6DE}-\x{2A6DF}\x{2B735}-\x{2B739}\x{2EBF0}-\x{2EE5D}\x{31350}-\x{323AF})";
inline constexpr const char* kNewMarks =
    R"(\x{897}-\x{89F}\x{8CA}-\x{8D2}\x{C3C}\x{CF3}\x{ECE}\x{1715}\x{180F}\x{1AC1}-\x{1ACE}\x{1DFA})"
    R"(\x{10D69}-\x{10D6D}\x{10EFC}-\x{10EFF}\x{10F82}-\x{10F85}\x{11070}\x{11073}-\x{11074}\x{110C2}\x{11241})"
    R"(\x{113B8}-\x{113C0}\x{113C2}\x{113C5}\x{113C7}-\x{113CA}\x{113CC}-\x{113D0}\x{113D2}\x{113E1}-\x{113E2})"
    R"(\x{11F00}-\x{11F01}\x{11F03}\x{11F34}-\x{11F3A}\x{11F3E}-\x{11F42}\x{11F5A}\x{13440}\x{13447}-\x{13455})"
    R"(\x{1611E}-\x{1612F}\x{1CF00}-\x{1CF2D}\x{1CF30}-\x{1CF46}\x{1E08F}\x{1E2AE}\x{1E4EC}-\x{1E4EF})"
    R"(\x{1E5EE}-\x{1E5EF})";
inline constexpr const char* kNewNumbers =
    R"(\x{10D40}-\x{10D49}\x{116D0}-\x{116E3}\x{11BF0}-\x{11BF9}\x{11DE0}-\x{11DE9}\x{11F50}-\x{11F59})"
    R"(\x{16130}-\x{16139}\x{16AC0}-\x{16AC9}\x{16D70}-\x{16D79}\x{16FF4}-\x{16FF6}\x{1CCF0}-\x{1CCF9})"
    R"(\x{1D2C0}-\x{1D2D3}\x{1E4F0}-\x{1E4F9}\x{1E5F1}-\x{1E5FA})";
inline constexpr const char* kNewPunctuation =
    R"(\x{61D}\x{1B4E}-\x{1B4F}\x{1B7D}-\x{1B7F}\x{2E53}-\x{2E5D}\x{10D6E}\x{10F86}-\x{10F89}\x{113D4}-\x{113D5})"
    R"(\x{113D7}-\x{113D8}\x{116B9}\x{11B00}-\x{11B09}\x{11BE1}\x{11F43}-\x{11F4F}\x{12FF1}-\x{12FF2})"
    R"(\x{16D6D}-\x{16D6F}\x{1E5FF})";
inline constexpr const char* kNewSymbols =
    R"(\x{888}\x{20C0}\x{2427}-\x{2429}\x{2FFC}-\x{2FFF}\x{31E4}-\x{31E5}\x{31EF}\x{FBC2}\x{FD40}-\x{FD4F}\x{FDCF})"
    R"(\x{FDFE}-\x{FDFF}\x{10D8E}-\x{10D8F}\x{1CC00}-\x{1CCEF}\x{1CD00}-\x{1CEB3}\x{1CF50}-\x{1CFC3})"
    R"(\x{1D1E9}-\x{1D1EA}\x{1F6DC}-\x{1F6DF}\x{1F774}-\x{1F776}\x{1F77B}-\x{1F77F}\x{1F7D9}\x{1F7F0})"
    R"(\x{1F8B2}-\x{1F8BB}\x{1F8C0}-\x{1F8C1}\x{1F979}\x{1F9CC}\x{1FA75}-\x{1FA77}\x{1FA7B}-\x{1FA7C})"
    R"(\x{1FA87}-\x{1FA89}\x{1FA8F}\x{1FAA9}-\x{1FAAF}\x{1FAB7}-\x{1FABF}\x{1FAC3}-\x{1FAC6}\x{1FACE}-\x{1FACF})"
    R"(\x{1FAD7}-\x{1FADC}\x{1FADF}-\x{1FAE9}\x{1FAF0}-\x{1FAF8}\x{1FBCB}-\x{1FBEF})";

}  // namespace hearth::ranges
