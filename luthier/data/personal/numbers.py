"""National numbers of persons, by the shape they are written in and their check digits (python-stdnum)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module

_CONTEXT_CHARS = 40
_AFTER_CHARS = 15


@dataclass(frozen=True, slots=True)
class _Number:
    """One kind of number: its module in python-stdnum, and the words near which alone it is one (None: anywhere)."""

    module: str
    near: re.Pattern[str] | None = None


def _near(words: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE)


_NHS = _Number("gb.nhs", _near("nhs"))
_IDNR = r"steuer-?id(?:entifikationsnummer)?|steuerliche identifikationsnummer|idnr|id-nr|tin|tax id|steuernummer"
_STNR = _Number("de.stnr", _near(r"steuernummer|steuer-nr|st\.?-? ?nr"))
_NIR = r"nir|sécu(?:rité)? ?(?:sociale)?|securite sociale|numéro de sécu|n° ?ss|insee|carte vitale"
_BSN = _Number("nl.bsn", _near(r"bsn|burgerservicenummer|sofi-?nummer"))
_CPR = _Number("dk.cpr", _near(r"cpr(?:-?(?:nr|nummer))?|personnummer"))
_SIN = _Number("ca.sin", _near(r"sin|social insurance(?: number)?|nas|numéro d'assurance sociale"))
_TFN = _Number("au.tfn", _near(r"tfn|tax file(?: number)?"))
_NIF = _Number("pt.nif", _near(r"nif|contribuinte|número fiscal|n\.?º fiscal"))
_SSN = _Number("us.ssn", _near(r"ssn|social security(?: (?:number|no|nr))?"))
_ITIN = _Number("us.itin", _near(r"itin|taxpayer(?: identification)?(?: number)?"))
_VNR = _Number("at.vnr", _near(r"sv(?:nr|-nr|-nummer)|(?:sozial)?versicherungsnummer|versicherungs-?nr"))
_EGN = _Number("bg.egn", _near(r"егн|egn"))
_KENNITALA = _Number("is_.kennitala", _near(r"kennitala|kt"))
_RNTRC = _Number("ua.rntrc", _near(r"рнокпп|іпн|rntrc"))
_PERSONNUMMER = _Number("se.personnummer", _near(r"personnummer|person-?nr"))
_AHV = _Number("ch.ssn", _near(r"ahv(?:-?(?:nr|nummer))?|avs|sozialversicherungsnummer"))
_ZEHUT = _Number("il.idnr", re.compile('ת["״]ז|תעודת זהות|teudat zehut', re.IGNORECASE))
_PESEL = _Number("pl.pesel", _near(r"pesel"))
_FNR = r"fødselsnummer|fodselsnummer|fødselsnr|personnummer|fnr"
_NN = r"rijksregister(?:nummer)?|registre national|nrn|niss|insz|numéro national"
_CPF = r"cpf"
_AADHAAR = r"aadhaa?r|uidai|uid"
_MY_NUMBER = (
    _Number("jp.in_", _near(r"my ?number|individual number")),
    _Number("jp.in_", re.compile("マイナンバー|個人番号")),
)
_ZA = _Number("za.idnr", _near(r"(?:sa |south african )?id(?:entity)?(?: (?:no|number|nr))?|rsa id"))
_CNP = _Number("ro.cnp", _near(r"cnp|cod(?:ul)? numeric personal"))
_THAI = _near(r"thai id|บัตรประชาชน|เลขประจำตัวประชาชน|national id|id card")
_EMSO = _Number("si.emso", _near(r"emšo|emso|jmbg"))
_SHORT_ELEVEN = (
    _Number("hr.oib", _near("oib")), _Number("ee.ik", _near("isikukood|ik")), _Number("lt.asmens", _near("asmens kodas|a\\.k")),
    _Number("gr.amka", _near("amka|αμκα")), _Number("tr.tckimlik", _near(r"t\.?c\.? ?kimlik(?: no)?|kimlik(?: no)?|tckn")),
)  # fmt: skip

# A shape that separators or letters make distinct is checked anywhere; plain digits only near their word.
_SHAPES: tuple[tuple[str, tuple[_Number, ...]], ...] = (
    # Letters among the digits.
    (r"[A-Z]{6}[0-9LMNPQRSTUV]{2}[A-EHLMPRST][0-9LMNPQRSTUV]{2}[A-Z][0-9LMNPQRSTUV]{3}[A-Z]", (_Number("it.codicefiscale"),)),
    (r"[A-Z]{4}\d{6}[HM][A-Z]{5}[A-Z0-9]\d", (_Number("mx.curp"),)),
    (r"[A-Z]{5}\d{4}[A-Z]", (_Number("in_.pan", _near(r"pan(?: card)?(?: (?:no|number))?|permanent account number")),)),
    (r"[XYZ][ -]?\d{7}[ -]?[A-Z]", (_Number("es.nie"),)),
    (r"\d{17}X", (_Number("cn.ric"),)),
    (r"\d{6}[-+A-FU-Y]\d{3}[0-9A-FHJ-NPR-Y]", (
        _Number("fi.hetu"), _Number("se.personnummer"), _CPR, _KENNITALA,
    )),
    (r"\d{2}\.?\d{3}\.?\d{3}[ -]?[A-HJ-NP-TV-Z]", (_Number("es.dni"),)),
    (r"\d{7}[A-W][A-IW]?", (_Number("ie.pps", _near(r"ppsn?(?: (?:no|number))?|personal public service(?: number)?")),)),
    (r"[12] ?\d{2} ?\d{2} ?(?:2[AB]) ?\d{3} ?\d{3} ?\d{2}", (_Number("fr.nir"),)),
    (r"\d{8} ?\d ?[A-Z][A-Z0-9]\d", (_Number("pt.cc", _near(r"cc|cartão (?:de |do )?cidadão|bi")),)),
    # Separators in places of their own.
    (r"[12] \d{2} \d{2} \d{2} \d{3} \d{3} \d{2}|[12] \d{2} \d{2} \d{2} \d{3} \d{3}/\d{2}", (_Number("fr.nir"),)),
    (r"756\.\d{4}\.\d{4}\.\d{2}", (_Number("ch.ssn"),)),
    (r"\d{2}\.\d{2}\.\d{2}[-.]\d{3}[-.]\d{2}|\d{2} \d{2} \d{2} \d{3} \d{2}", (_Number("be.nn"), _Number("be.bis"))),
    (r"\d{3}\.\d{3}\.\d{3}-\d{2}", (_Number("br.cpf"),)),
    (r"\d{1,2}\.\d{3}\.\d{3}-[\dKk]", (_Number("cl.rut"),)),
    (r"\d{2}-\d{8}-\d", (_Number("ar.cuit"),)),
    (r"\d{3}-\d{2}-\d{4}", (_Number("us.ssn"), _Number("us.itin"))),
    (r"\d{4}\.\d{2}\.\d{3}", (_Number("nl.bsn"),)),
    (r"\d{2} \d{3} \d{3} \d{3}", (_Number("de.idnr"),)),
    (r"\d{2,3}/\d{3,4}/\d{4,5}", (_STNR,)),
    (r"\d{4} \d{4} \d{4}|\d{4}-\d{4}-\d{4}", (_Number("in_.aadhaar"), *_MY_NUMBER)),
    (r"\d{8}-\d{4}", (_Number("se.personnummer"),)),
    (r"\d{6}-\d{5}", (_Number("lv.pvn", _near(r"personas kods|p\.k|pk")),)),
    (r"\d{6}-\d{7}", (_Number("kr.rrn"),)),
    (r"\d{6}/\d{4}", (_Number("cz.rc"),)),
    (r"\d{6} \d{5}", (_Number("no.fodselsnummer"),)),
    (r"\d{6} \d{4} \d{2} ?\d", (_Number("za.idnr"),)),
    (r"\d-\d{4}-\d{5}-\d{2}-\d", (_Number("th.pin"),)),
    (r"\d{3}[ -]\d{3}[ -]\d{4}", (_NHS,)),
    (r"\d{3}[ -]\d{3}[ -]\d{3}", (_SIN, _TFN, _NIF, _SSN, _Number("nl.bsn", _BSN.near))),
    (r"\d{4} \d{6}", (_VNR,)),
    (r"\d{6} \d{4}", (_CPR, _KENNITALA, _PERSONNUMMER)),
    # Plain digits.
    (r"\d{18}", (_Number("cn.ric"),)),
    (r"\d{15}", (_Number("fr.nir", _near(_NIR)),)),
    (r"\d{13}", (_CNP, _ZA, _EMSO, _Number("th.pin", _THAI), _AHV)),
    (r"\d{12}", (_Number("in_.aadhaar", _near(_AADHAAR)), *_MY_NUMBER, _PERSONNUMMER)),
    (r"\d{11}", (
        _PESEL, _Number("de.idnr", _near(_IDNR)), _STNR, _Number("no.fodselsnummer", _near(_FNR)), _Number("be.nn", _near(_NN)),
        _Number("br.cpf", _near(_CPF)), *_SHORT_ELEVEN,
    )),
    (r"\d{10}", (
        _NHS, _CPR, _VNR, _EGN, _KENNITALA, _RNTRC, _PERSONNUMMER,
        _Number("cz.rc", _near(r"rodné číslo|r\.?č")),
    )),
    (r"\d{9}", (_BSN, _SSN, _ITIN, _SIN, _TFN, _NIF, _ZEHUT)),
)  # fmt: skip

_START = r"(?<![\w@+/.,-])(?<!\d )"
_END = r"(?![\w@]|[.,/-]\d| \d)"


# Upper case or lower, as people type it; a letter or a digit that begins no shape is passed over at once.
_ANY = re.compile(
    rf"{_START}(?=[A-Za-z]{{0,6}}[ -]?\d)(?:{'|'.join(f'(?P<s{i}>{shape})' for i, (shape, _) in enumerate(_SHAPES))}){_END}",
    re.IGNORECASE | re.ASCII,
)
# Where so many digits stand together, a shape may begin at one of the letters before them.
_CLUSTER = re.compile(r"[0-9](?:(?:[ ./+-]?[A-Za-z]?[0-9]){5,}|[0-9]{3}[A-Za-z](?![A-Za-z0-9]))", re.ASCII)
_BEFORE_CLUSTER, _AFTER_CLUSTER = 8, 12


def national_ids(text: str) -> Iterator[tuple[int, int, bool]]:
    """Yield start, end and whether its word stands near, for each number of a person with right check digits.

    Digits of other scripts than Latin are not looked for.
    """
    done = 0
    for cluster in _CLUSTER.finditer(text):
        start = max(done, cluster.start() - _BEFORE_CLUSTER)
        for match in _ANY.finditer(text, start, cluster.end() + _AFTER_CLUSTER):
            written = match[0].upper()
            for number in _SHAPES[int(str(match.lastgroup)[1:])][1]:
                told = number.near is not None
                if number.near is not None and not _stands_near(number.near, text, *match.span()):
                    continue
                if _check(number.module)(written):
                    yield match.start(), match.end(), told
                    done = match.end()
                    break


def _stands_near(words: re.Pattern[str], text: str, start: int, end: int) -> bool:
    return bool(
        words.search(text, max(0, start - _CONTEXT_CHARS), start) or words.search(text, end, end + _AFTER_CHARS)
    )


@cache
def _check(module: str) -> Callable[[str], bool]:
    checks: Callable[[str], bool] = import_module(f"stdnum.{module}").is_valid
    return checks


# The second line of a passport's machine-readable zone: ICAO Doc 9303, part 4, 4.2.2.
_PASSPORT = re.compile(r"(?<![A-Z0-9<])[A-Z0-9<]{9}\d[A-Z<]{3}\d{7}[MF<X]\d{7}[A-Z0-9<]{14}[0-9<]\d(?![A-Z0-9<])")


def passports(text: str) -> Iterator[tuple[int, int]]:
    """Yield the machine-readable lines of passports whose check digits are right."""
    if "<" not in text:
        return
    for match in _PASSPORT.finditer(text):
        line = match[0]
        fields = ((line[:9], line[9]), (line[13:19], line[19]), (line[21:27], line[27]))
        whole = line[:10] + line[13:20] + line[21:43]
        if all(_weighed(part) == digit for part, digit in (*fields, (whole, line[43]))):
            yield match.span()


def _weighed(part: str) -> str:
    return str(sum((7, 3, 1)[i % 3] * (0 if c == "<" else int(c, 36)) for i, c in enumerate(part)) % 10)
