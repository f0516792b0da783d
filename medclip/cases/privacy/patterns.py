"""What looks like an identifier in any text, whatever its header says (after 45 CFR 164.514(b)(2)(i)).

Numbers with a cue or too long for a measurement, contacts, street addresses, people after a title or a cue, ages over
89. Measurements, vertebral levels, scores, stages and series numbers look like none of them.
"""

import re
from collections.abc import Iterator

from medclip.cases.privacy.dates import find_dates
from medclip.cases.privacy.names import CJK_TITLES
from medclip.cases.privacy.text import CJK, END, START, Found
from medclip.cases.privacy.words import ABBREVIATIONS, GENERIC

__all__ = ["find_patterns"]

_UNIT = r"\s?(?:mm|cm|ml|cc|mg|ng|pg|kg|mmol|mGy|HU|x\s?\d)\b|\s?[%×]"

# ---- contacts and addresses

_TOP = r"com|net|org|edu|gov|mil|info|eu|de|ch|fr|cn|(?:co|ac|nhs|org|gov)\.uk|com\.\w\w"
_CONTACTS = (
    r"(?<![\w.+-])[\w.+-]{1,64}\s?(?:@|\(at\)|\[at\])\s?[\w-]{1,63}(?:\.[\w-]{1,63})+",
    r"(?:https?://|www\.)[^\s<>\"'，。）)]+",
    r"(?i:\b(?:tel|phone|telephone|fax|mobile|(?<!white )(?<!red )(?<!blood )cell|pager|beeper|ext"
    r"|call(?:ed)?(?:\s+back)?(?:\s+at)?|telefon|handy|dw)\b)(?:\.|\s?(?i:no(?:\.|(?=\s?[:#]))|number|nr\.?))?[\s:#]{0,3}(?:at\s)?"
    rf"(?!\d{{1,3}}\.\d{{1,2}}(?![\d.]))(?>[(+]?\d[\d\s()/.-]{{2,18}}\d)(?!{_UNIT})",
    rf"(?i:\b(?:(?:bleep|blp|pgr|pager|beeper)(?:\s?(?:no\.|number))?[\s.:#]{{0,3}}(?=\d{{3}})|(?:dect|extn?)[\s.:#]{{0,3}}(?=\d{{4}})))"
    rf"(?>\d{{3,6}})(?!{_UNIT}|[\d.]\d|\s?(?:deg|°|kV|mA))",
    r"[\w.+-]{2,64}\s+at\s+[\w-]{2,63}(?:\s+dot\s+[a-z\d-]{2,20}){0,3}\s+dot\s+(?:com|net|org|edu|gov|uk|de|ch|fr|[a-z]{2})\b",
    rf"(?:[\w.+-]{{2,64}}\s+at\s+)?(?<![\w@.-])(?:[A-Za-z\d-]{{2,63}}\.){{1,4}}(?:{_TOP})(?![\w-]|\.\w)(?:/[^\s<>\"'，。）)]{{0,200}})?",
    r"(?:电话|手机|传真|联系方式|分机)(?:号码?)?[\s:：]{0,2}[(+]?\d[\d\s()-]{4,18}\d",
    r"(?<![\w.])\+\d{1,3}(?:[\s()/.-]{0,3}\d){6,13}(?!\d)",
    r"(?<![\w.])(?:1[\s.-])?\(?\d{3}\)?[\s.-]\d{3}[.-]\d{4}(?![\w.-]\d|\w)",
    r"(?<![\w.])\(?0\d{2,4}\)?\s?[-/ ]\s?\d{3,8}(?:[\s-]\d{2,5}){0,3}(?!\w)",
    r"(?<![\w.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\w.]\d|\w)",  # an IP address
    r"(?<!\d)1[3-9]\d[\s-]?\d{4}[\s-]?\d{4}(?!\d)",
)
_STREET = (
    r"Street|St|Road|Rd|Avenue|Ave|Boulevard|Blvd|Lane|Drive|Terrace|Crescent|Highway|Parkway|Court|Gardens|Square|Way"
)
_TOWN = r"(?:,?\s+(?:[A-Z][A-Za-z.'-]+\s?){1,3},?\s+(?:[A-Z]{2}\s+)?[A-Z0-9][A-Z0-9 -]{2,6}\d[A-Z0-9]{0,2}\b)?"
_ADDRESSES = (
    rf"{START}\d{{1,5}}[A-Za-z]?\s+(?:[NSEW]\.?\s+)?(?:[A-Z][A-Za-z'.-]+\s+){{1,3}}(?:{_STREET})\b\.?"
    rf"(?:,?\s+(?:[Aa]pt|[Ss]uite|[Uu]nit|#)\.?\s?\w+)?{_TOWN}",
    rf"{START}[A-ZÄÖÜ][\wäöüß-]{{0,40}}(?:stra(?:ß|ss)e|str\.|gasse|platz|weg|allee)\s+\d{{1,4}}[a-z]?(?:/\d+)*"
    r"(?:,?\s+(?:[A-Z]{1,2}-)?\d{4,5}\s+[A-ZÄÖÜ][\wäöüß-]+)?",
    r"\b\d{1,4},?\s+(?:rue|avenue|boulevard|place|chemin|impasse)\s+(?:de\s+(?:la\s+|l')?|des\s+|du\s+)?[A-ZÉ][\wéèêç'-]+"
    r"(?:,?\s+\d{5}\s+[A-Z][\w-]+)?",
    r"\b(?:P\.?\s?O\.?\s?[Bb]ox|Postfach)\s+\d+",
    r"\b[A-Z][A-Za-z]+,?\s+(?:A[LKZR]|C[AOT]|DE|FL|GA|HI|I[DLNA]|K[SY]|LA|M[EDAINSOT]|N[EVHJMYCD]|O[HKR]|PA|RI|S[CD]|T[NX]|UT"
    r"|V[TA]|W[AVIY])\s+\d{5}(?:-\d{4})?\b",
    r"\b(?:(?:[BEGLMNSW]|[A-Z]{2})\d[A-Z\d]?)\s\d[ABD-HJLNP-UW-Z]{2}\b(?=\s*(?:[.,;)\n]|$))",
    r"\b(?:D|A|CH)-\d{4,5}\s+[A-ZÄÖÜ][\wäöüß-]+",
    rf"(?:[{CJK}]{{2,4}}[省市])?[{CJK}]{{1,4}}[市区县][{CJK}\d]{{1,12}}(?:路|街|巷|弄|大道|胡同|村|镇)[{CJK}]{{0,2}}"
    r"\d{0,5}[号號]?(?:\d+[室单元栋楼号]+)*",
    rf"(?<=[址于在])[{CJK}]{{2,10}}(?:路|街|巷|弄|大道|胡同)\d{{1,5}}[号號](?:\d+[室单元栋楼]+)*",
)

# ---- numbers

_NUMBERED = (
    r"MRNs?|M\.R\.N\.|(?:medical\s+)?record|chart|hospital|unit|patient|pat|accession|acc|case|encounter|visit|account|acct|order|"
    r"requisition|request|specimen|admission|episode|insurance|policy|member|subject|study|exam|health\s?card|medicare|medicaid|"
    r"passport|licen[cs]e|serial|device|certificate|NHS|SSN|social\s+security|SVNR|Fall|Patienten|Auftrags|Versicherungs|"
    r"Sozialversicherungs|dossier|IPP|NIR|DNI|CURP"
)
_WORD = (  # a bare "no" is a negation, but before a sign or a long number
    r"(?:[\s-]?(?:(?:identifier|number|num|nr|nummer|id|code|plate)\b\.?"
    rf"|no(?:\.|\b(?=\s?[:#=](?!\s?\d++(?:\.\d+)?+(?:{_UNIT}))|\s?(?!(?:19|20)\d\d\s+[a-z])(?:[A-Z]{{1,3}}-?)?\d{{4,}}+(?!{_UNIT}))))|\s?[#№])"
)
_VALUE = r"(?:is\s+|:\s*|#\s*|=\s*|-\s?)?(?=[\w-]{0,30}\d)[A-Z]{0,5}[-_/.]?\w{1,30}(?:[-_/.](?=[A-Z]*\d)\w{1,20}){0,5}"
_NUMBERS = (
    rf"(?i:\b(?:{_NUMBERED}){_WORD})[\s:#]{{0,3}}(?i:{_VALUE})(?:\s\d{{2,5}}){{0,3}}{END}",
    r"(?i:\b(?:MRN|SSN|accession|(?:acc|MR)\s?#|SVNR|ID(?:\s?#)?))[\s:#=]{1,3}(?=[\w-]{0,30}\d)[\w-]{4,40}(?:[\s/-]\d{2,6}){0,3}",
    r"(?:病历|病案|住院|门诊|检查|影像|登记|身份证|医保卡?|社保卡?|就诊卡?|申请单?|条码|放射|超声|床位?|X线|CT|MRI?|ID)(?:编?号码?|ID)"
    r"\s?[:：#为是]?\s?[A-Za-z]{0,5}[-_]?\d[\w-]{1,24}",
    rf"\b(?:Aadhaa?r|PAN|DNI|NIE|CPR|CHI|AHV|BSN|GMC|NPI|DEA|Medicare|[Pp]ersonnummer)\b(?:[\s-](?i:no\.?|number|nr\.?))?[\s:#.]{{0,3}}"
    rf"(?>(?=(?:[\s.-]?[A-Z]{{0,5}}\d|[\s.-]){{4}})[A-Z]{{0,5}}\d(?:[A-Z\d]|[\s.-](?=[A-Z]{{0,2}}\d)){{3,24}})(?!{_UNIT})",
    r"(?<![\w.-])(?:\d\d)?\d{6}[-+]\d{4}(?![\w-])",  # a Swedish or Danish number: date of birth and four digits
    r"(?<![\w.-])\d{3}-\d{2}-\d{4}(?![\w-])",
    r"(?<![\w.])\d{3}\s\d{3}\s\d{4}(?![\w.]\d|\w)",
    r"(?<![\w.])\d{17}[\dXx](?!\w)",
    r"(?<![\w.,])\d{7,16}(?![\w%]|[.,]\d|\s?(?:mm|cm|ml|mg|x\s?\d))",
    rf"{START}(?=(?:[A-Z]*\d){{4}})(?=\d*[A-Z])[A-Z\d]{{12,40}}{END}",
    rf"{START}[A-Z]{{1,5}}[-_]?\d{{6,}}(?:[-_/]\w+)?{END}",
    rf"{START}[A-Z]{{2,5}}[-_]\d{{5,}}{END}",
    rf"{START}[A-Z]{{1,5}}[-_/]?\d{{2,4}}[-_/]\d{{4,}}{END}",
)
_UIDS = (r"(?<![\w.])[012](?:\.\d+){5,}(?!\w)",)

# ---- people

_BIG = "A-ZÀ-ÖØ-Þ" + "".join(c for c in map(chr, range(0x100, 0x180)) if c.isupper())
_PARTICLE = r"(?:(?:van|von|de|del|der|den|la|le|di|da|dos|bin|al|el|zu)[\s-]+){0,2}"
_NAME = rf"(?:(?:[A-Z]\.\s?){{1,3}})?{_PARTICLE}[{_BIG}][\w'-]{{0,30}}\w"
_INITIALS = r"(?:(?:[A-Z]\s){2}(?=[A-Z][a-z])|[A-Z]{1,3}\s(?=[A-Z][a-z]))?"  # without dots
_NOT_NAMED = (
    r"(?!(?:Drs?|Prof|Mrs?|Ms|The|This|There|He|She|It|In|No|On|At|And|Or|But|With|CT|MR|MRI|MRA|PET|US|XR|NM|IR|ED|ER|OR|ICU|GI|GU|ENT|EMS|PCP|MD|Ultrasound|Radiology|Radiologists?|Surgery|Surgical|"
    r"Emergency|Medicine|Medical|Pathology|Oncology|Neurology|Neurosurgery|Orthop\w+|Urology|Cardiology|Pediatrics|Gynecology|"
    r"Department|Interventional|Nuclear|Physical|Occupational|Primary|General|Clinical|Imaging|Infectious|Patient|Findings?|"
    r"Impression|History|Male|Female|Unknown|Adult|Child|Infant|Exam\w*|Biops\w+|Histolog\w+|Microscop\w+|Laparo\w+|Endoscop\w+|Bronch\w+|Fine|Gross|Tissue|Excision\w*|"
    r"Angiogra\w+|Echocardio\w+|Chest|Head|Left|Right|X-?[Rr]ay\w*|Doppler|Gram|Serology|Culture\w*|Lab\w*|Family|January|February|"
    r"March|April|May|June|July|August|September|October|November|December|Mary\s+Joseph|Hospital|Clinic)(?![a-z]))"
)
_NOT_SHORT = r"(?![A-Z]{2,4}\b(?!\s[A-Z][a-z]))"
_LETTER = rf"[^\W\d_{CJK}]"
_NAMES = rf"{_INITIALS}{_NAME}(?:[ ](?:and\s+)?(?!And\b)(?:[A-Z]\.|[A-Z](?=\s[A-Z][a-z])|{_NAME})){{0,2}}"
_TITLE = (
    r"(?:Dra?s?\.?|Prof\.?|Professor|Doctor|Mrs\.?|Mr\.?|Ms\.?|Miss|Herrn?|Frau|Schwester|Sister|Mme|Monsieur|Madame|Se[ñn]ora?"
    r"|Sra\.?)"
)
_SCANNED = (  # what MR, MRS, MS and DR are of in capitals, where they are no title
    r"(?!(?:ANGIO|IMAG|SPECTRO|VENOG|UROGR|ENTEROG|ARTHROG|CHOLANGIO|MAMMOG|ELASTOG|NEUROG|PERFUS|DIFFUS|PROSTAT|CERVIC|THORAC|LUMBAR"
    r"|ABDOM|PELV|SPINE|SPINAL|SCAN|EXAM|STUDY|STUDIES|SEQUENCE|PROTOCOL|FINDING|SHOW|SUGGEST|DEMONSTR|REVEAL|PLAQUE|LESION|DISEASE"
    r"|PATIENT|GUIDED|GUIDANCE|COMPAT|CONTRAST|VOLUM|SYSTEM|PHASE|RELAPS|SIGNAL|APPEAR|CHANGE|FEATURE|REPORT|RECONS|COMPARISON|TECHNIQ"
    r"|INDICATION|EXACERB|FLARE|EXTREMIT|CLINICAL|HISTORY|RESULT|IMPRESSION|CONCLUSION|DEMYEL|PROGRESS|SYMPTOM|ATTACK|DIAGNOS|TREATM"
    r"|THERAP|BILATERAL|ROUTINE|VIEW)"
    rf"|(?:{'|'.join(sorted(word.upper() for word in ABBREVIATIONS | GENERIC))}|WITH|WITHOUT|OR|IS|WAS|WERE|NOT|NO|TO|BUT|BY|AS"
    r"|FROM|SAFE|VS|FLAIR|T1|T2|II+|IV|AXIAL|SAGITTAL|CORONAL|POST|PRE|NON|NORMAL|NEGATIVE|POSITIVE|ACUTE|CHRONIC|HIP|WAIST)\b|\w*\d)"
)
_NO_DOCTOR = (  # what may follow "dr" in small letters
    r"(?!(?:to|on|at|in|and|or|the|an?|for|of|off|who|was|is|has|had|will|would|said|says|from|with|about|again|today|office|visit|"
    r"appointment|review|if|as|by|her|his|my|their|notes?|please|this|that|but|due|chest|images?|films?|recommend\w*|advi\w+|order\w*|"
    r"aware|notified|informed|called|paged|made|did|saw|wants?|want\w*|requests?|requested)\b)"
)
_SIGNED = (
    r"(?i:\b(?:dictated|typed|signed|read|reported|reviewed|interpreted|transcribed|verified|approved|authenticated|finali[sz]ed|"
    r"performed|referred|ordered|requested|examined|scanned|seen)\s+(?:and\s+\w+\s+)?by|discussed\s+with|communicated\s+to|"
    r"(?:called|telephoned|paged|faxed|reported)\s+to)"
    r"|(?i:(?:\b(?:referring|attending|ordering|requesting|reading|reporting|consulting)(?:\s+(?:physician|doctor|radiologist|md))?|"
    r"\b(?:radiologist|technologist|sonographer|radiographer|operator|transcriptionist|resident|"
    r"(?:patient|pt|full|first|last|family|maiden)(?:'s)?\s*name|next\s+of\s+kin|befundet\s+von|zuweiser|"
    r"(?:(?<=\n)|^)[ \t]*name))\s?[:=])"
)
_KIN = (
    r"mother|father|daughter|son|wife|husband|brother|sister|partner|niece|nephew|aunt|uncle|grand(?:son|daughter|mother|father)|carer"
    r"|guardian|neighbou?r"
)
_LOOSE = rf"(?i:\b(?:cc:|(?:{_KIN}|contact|signed)\s?[:=]|(?:(?<=\n)|^)[ \t]*patient\s?[:=]))"
"""Cues that findings, too, stand after: CC is a view and a chief complaint."""
_DOES_SO = (  # no single word before a word in small letters, but a verb or the like
    r"(?!\s+(?!(?:has|had|is|was|says?|said|reports?|states?|at|and|with|on|in|who|will|phoned|called|tel|phone|mobile)\b)[a-z])"
)
_STATES = (
    r"(?!(?:Normal|Abnormal|Supine|Prone|Sitting|Standing|Upright|Erect|Stable|Unstable|Improved|Worse|Unchanged|Negative|Positive|None|"
    r"Nil|Yes|Not|Well|Alive|Deceased|Died|Dead|Healthy|Living|Sick|Present|Absent|Breast|Prostate|Lung|Colon|Ovarian|Heart|Hypertension|"
    r"Diabetes|Diabetic|Asthma|Stroke|Cancer|Coronary|Cardiac|Chronic|Acute|Renal|Kidney|Liver|Thyroid|Dementia|Depression|Alzheimer\w*|"
    r"Parkinson\w*|Arthritis|Epilepsy|Migraine\w*|Architectural|Mass|Masses|Calcification\w*|Asymmetr\w+|Nodul\w+|Benign|Malignan\w+|"
    r"Cough|Fever|Pain|Abdominal|Back|Neck|Shortness|Dyspn\w+|Headache\w*|Weakness|Nausea|Vomiting|Fall|Fell|Trauma|Follow\w*|Screening|"
    r"Cysts?|Cells?|Nuclei|Lesions?|Has|Had|Is|Was|Denies|Reports|States|Says|Who|Of|For|From|To|Cooperative|Uncooperative|Sedated|"
    r"Intubated|Anesthesi\w+|Awake|Alert|Obese|Morbid\w*|Unable|Tolerated|Motion|Position\w*|Good|Poor|Fair|Dense|Scattered|Fatty|Skin|"
    r"Seizures?|Lupus|Gout|Smoker|Notes|Born|Side|BRCA\w*|\w+(?:tions?|itis|[ae]mia|uria|osis|oma|algia|pathy|ness|ectomy|atory|asting)|"
    r"Minnie|Hospital|Clinic|Joints?|Spiculated|Focal|Global|Implant\w*|Axilla\w*|Developmental|Discharge|Palpable|Lump|Views?|Final|Electronic\w*|Report|Preliminary)\b)"
)

_PEOPLE = (
    rf"{START}{_TITLE}(?:\s+|(?<=\.))(?:(?:Dr|Prof|med|Univ)\.\s*){{0,3}}{_NOT_NAMED}({_NAMES}(?:\s+(?:and|und|&)\s+{_NAME})?)",
    rf"{START}(?:DR|PROF)\.\s+({_INITIALS}{_NAME}){END}",
    rf"{START}(?:DR|PROF|MRS?|MS|MISS)\.?[ ]{_SCANNED}((?:[A-Z]\.?\s)?[{_BIG}][{_BIG}'-]{{1,30}}){END}",
    rf"{START}dr\.?\s+{_NO_DOCTOR}([a-z][a-z'-]{{2,30}}){END}",
    rf"{START}({_LETTER}(?:{_LETTER}|['-]){{1,40}}\^(?:{_LETTER}|['.-]){{1,40}}(?:\^(?:{_LETTER}|['. -]){{0,40}}){{0,3}})",
    rf"(?:{_SIGNED})[\s:]*(?:(?:Dr|Prof|Mr|Mrs|Ms)\.?\s+){{0,2}}{_NOT_NAMED}{_NOT_SHORT}"
    rf"({_INITIALS}{_NAME}(?:,?[ ](?!(?:MRN|ID|DOB|SSN|MD)\b){_NAME}|[ ][A-Z]\b\.?){{0,2}})",
    rf"(?:{_LOOSE})[\s:]*(?:(?:Dr|Prof|Mr|Mrs|Ms)\.?\s+){{0,2}}{_NOT_NAMED}{_NOT_SHORT}{_STATES}"
    rf"({_INITIALS}{_NAME}(?:,?[ ](?!(?:MRN|ID|DOB|SSN|MD)\b){_NAME}|[ ][A-Z]\b\.?){{1,2}}|{_NAME}{END}(?![\w'-]){_DOES_SO})",
    rf"\b(?i:{_KIN})\s{_NOT_NAMED}{_NOT_SHORT}{_STATES}({_NAME}(?:[ ]{_NAME})?){END}{_DOES_SO}",
    r"(?m:^)[ \t]*((?!(?:PA|AP|LAT|CT|MR|US|CC|RT|LT|IV|MLO?)\b)[A-Z]{2,4}[/:][a-z]{2,4})[ \t]*(?m:$)",  # who typed it
    rf"{START}((?!M\.D){_NAME}(?:,?[ ](?:[A-Z]\.|(?!M\.?D){_NAME})){{1,2}}),?\s+"
    r"(?:M\.?D\.?|D\.O\.|Ph\.?D\.?|FRCR|FRCPC|FACR|RN|R\.N\.|RT\(R\)|PA-C|MBBS)(?!\w)",
    r"(?i:dictated|transcribed)\s+by:?\s*([A-Z]{2,4}(?:/[a-zA-Z]{2,4})?)\b",
)
_SURNAME = (
    "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎余潘杜戴夏钟汪田任姜范方石姚谭廖"
    "邹熊陆郝孔白崔康毛邱秦江史顾侯邵孟龙万雷钱汤尹黎易常武乔贺赖龚文庞樊兰殷施陶洪翟安颜倪严牛温芦季俞章鲁葛伍韦申尤毕聂丛焦柳邢岳"
    "齐沿梅莫庄辛祝左涂谷祁舒耿牟卜詹关苗凌纪靳盛童欧甄曲游阳裴席卫屈鲍覃霍翁隋植甘薄司柏宁柯阮桂闵柴华冉"
)
"""Family names that are seldom a word's first character before a title."""
_DOES = "(?:报告|审核|检查|申请|书写|诊断|主治|送检|操作|会诊|复核)"
_GIVEN = rf"[{CJK}]{{0,2}}"
_CJK_PEOPLE = (
    rf"((?:欧阳|司马|上官|诸葛|[{_SURNAME}])\^[{CJK}]{{1,2}})",
    rf"(?:老伴|丈夫|妻子|女儿|儿子|母亲|父亲|爱人)((?![高白于常史温安左黄宁马牛毛石方梅曾许时万单成])[{_SURNAME}][{CJK}]{{1,2}})",
    rf"(?<![主副责门高有疗影科])([{_SURNAME}](?!年资|级){_GIVEN}?)(?={CJK_TITLES})",
    rf"(?:姓名|签名|签字|{_DOES}(?:医师|医生|者|人|技师)|联系人|记录者|家属)\s?[:：为是]\s?([{CJK}]{{2,4}})(?![{CJK}])",
    rf"(?:姓名|签名|{_DOES}(?:医师|医生|技师)|审核|审签|复核|记录|书写)\s?[:：]?\s?([{_SURNAME}][{CJK}]{{1,2}})(?![{CJK}])",
    rf"(?:姓名|签名)\s?[:：]\s?([{CJK}]{{2,3}})",
    rf"((?!高)[{_SURNAME}](?:某{{1,2}}|[*＊]{{1,2}}[{CJK}]?))",
)

# ---- ages over 89

_OLD = r"(?:9\d|1[0-4]\d)"
_NINETY = (
    r"(?:ninety(?:[- ](?:one|two|three|four|five|six|seven|eight|nine))?"
    r"|(?:one|a)[- ]hundred(?:[- ](?:and[- ])?(?:one|two|three|four|five|six))?)"
)
_AGES = (
    rf"(?<![\d.,/-])({_OLD}|{_NINETY})(?=[\s-]?(?:years?|yrs?)[\s-]?(?:old|of\s+age)|[\s-]?y[\s./]?o\b|\s?y/o\b|\s?yrs?\b|-?jährige?\w*"
    r"|\s+Jahre\s+alt|[-\s]years?\b|\s?ans\b|\s?años\b)",
    rf"\b(?:aged?|age\s+of|im\s+Alter\s+von|Alter)\s?[:=]?\s*({_OLD}|{_NINETY})(?![\d.,%]\d|\d|%|\s?(?:mm|cm|mg|ml|days|weeks|months))",
    rf"(?:\b(?:a|an|pt|patient)|^)\s+({_OLD})(?=\s?(?-i:[MF])\b)",
    rf"(?<![\d.,/-])({_OLD})(?=\s?(?-i:[MF]),?\s+(?:with|who|presents|presenting|[shc]/[poh])\b)",
    rf"(?<![\d.])({_OLD})(?=\s?(?:周?岁|歲|歳|세))|((?:九十|一百(?:零|一十)?)[一二三四五六七八九]?)(?=\s?(?:周?岁|多岁|余岁|歲))",
    rf"(?<![\d.,/-])0?({_OLD})(?=\s?(?:(?-i:Y)|yo?|yrs?)(?:[\s./-]?(?-i:[MF]))?\b)",
    rf"(?<![\d.,/-])(9\d|10\d)(?=\s?/\s?(?-i:[MF])\b)|(?<![\w/])(?-i:[MF])\s?/\s?({_OLD})(?![\d/.])",
    r"(?<![\d.,/-])(?<!Tc )(9\d|10\d)(?=(?-i:M)\b(?!/|\s?(?:\d|Tc|MDP|sestamibi)))",
    r"(?<![\d.,/-])(?<!temp )(?<!temperature )(?<!fever )(?<!of )(?<!to )(9[0-6])(?=(?-i:F)\b)",
    rf"(?:^|\n|\b(?:pt|patient|who)(?:\s+is)?\s+)({_OLD})(?=(?-i:F)\b(?!\s+fever))",
    r"(?<![\d.,/-])(9\d|10\d)(?=[\s-](?:(?:fe)?male|woman|man|lady|gentleman)\b(?!\s+(?:patients|subjects|cases|participants)))",
    rf"\bturn(?:ed|ing|s)\s+({_OLD}|{_NINETY})(?!\d|[.,]\d|\s?(?:[%°]|degrees|mm|cm))",
    r"\b(nonagenarians?|centenarians?)\b",
)


def _all(kind: str, ways: tuple[str, ...], flags: re.RegexFlag = re.NOFLAG) -> list[tuple[str, re.Pattern[str]]]:
    return [(kind, re.compile(way, flags)) for way in ways]


_PATTERNS = [
    *_all("contact", _CONTACTS, re.ASCII),
    *_all("address", _ADDRESSES),
    *_all("uid", _UIDS, re.ASCII),
    *_all("number", _NUMBERS, re.ASCII),
    *_all("name", _PEOPLE),
    *_all("name", _CJK_PEOPLE),
    *_all("age", _AGES, re.IGNORECASE),
]


def find_patterns(text: str) -> Iterator[Found]:
    """Everything in a text (made `even`) that looks like an identifier; they may overlap."""
    yield from find_dates(text)
    for kind, pattern in _PATTERNS:
        for found in pattern.finditer(text):
            group = next((number for number, value in enumerate(found.groups(), start=1) if value), 0)
            yield Found(kind, *found.span(group))
