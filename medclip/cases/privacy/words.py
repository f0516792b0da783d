"""Words that a person or a place may be called by and that are ordinary in a report, too."""

__all__ = ["ABBREVIATIONS", "GENERIC", "ORDINARY", "PARTICLES", "PLACEHOLDERS", "TITLES"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ORDINARY = _words(
    """
    able abbot acute al alley am an and apple arch arm art as ash at axe back bacon baker ball band bank banks barber bay
    be bean beard beck bell berg berry best bird bishop black blank block bloom blue bolt bond bone bones boot born bow
    bowl box brain branch brand bread brick bridge bright broad brook brown bull bunch burn burns bush butcher butler by
    can cane carpenter case cave cell chain chance chase church clay clear close cloud coal cold cole cook copper cord
    core cotton cough cross crown cruise curl cyst daily dark dawn day days deal dean death deep do door down drew drop
    dry duke ear early east end erst ever face fair faith fall farmer fast field fine finger first fish fisher fix flat
    flood flower flowers foot ford fork forest fox frank free french frost full funk gage gall gap gas german gold good
    grace grand grant grave graves gray great green grey groom ground grove guy ha hair hall ham hand hands hard hart he
    head heal heart heat her high hill him his hole holes holly home hook hope house how hull hunt hunter i if in index
    iron is island it ivy jack joy joint judge just keen key kidney king knee knight knot la lake lamb land lane large
    last law lay leaf lean left leg less lever light lily line little liver lock long loop lord loss love low lower lump
    lung major mark marks marrow mars marsh mass massa may me mean meek mild mile miles mill miller minor mole moon moore
    more moss most mouth my neck new no noble nodule none nor normal north nose nurse of oh old on one or organ our page
    pain pale parent park parks patient peak pearl pin pitt place plain plane plate plum point pole pool poor pope porter
    post potter power pratt press price prime prince prior ray read reading red reed reef rest rice rich right ring rise
    rising river road robin rock roof room root rose round row ruby rule rush sage sand savage scan see self sell series
    shade shadow shaft sharp shell shin ship short shoulder silver singer site skin sky slack slice sly small smart snow
    so south spark speak spear spin spine spring stable star steel stem still stone storey strange stream street strong
    study such summer summers swan sweet swift tall tan task taylor teal thick thin thorn tide tie times tissue to tongue
    tract trail tree true tube turn turner twin two underwood up upper us vague view vine vital von wade walk walker wall
    wallow ward warm waters way we weaver weeks well wells west white wide wild will wise with wolf wood woods work worth
    yellow young
    """
)

PARTICLES = _words(
    "van von vom zu zur zum der den dem de del della di da dos das du la le el al bin ibn ben ter ten st e y"
)
"""Parts of a name that are none by themselves."""

TITLES = _words(
    "dr prof professor doctor mr mrs ms miss md phd mph jr sr ii iii iv med univ doz priv dipl ing frcr frcp facr rn rt "
    "bsc msc mag herr frau pd"
)

PLACEHOLDERS = _words(
    "unknown anonymous anonymized anonymised anon none null na unnamed noname removed patient doctor physician "
    "radiologist technologist technician staff resident operator test name"
)
"""What stands in a header where nobody is named."""

ABBREVIATIONS = _words(
    "pa ap ct mr us iv im la ra lv rv ca ba md er or ed dx rx tx hx fx st mri mra mrv mrs pet dwi adc gre cta icu "
    "bmi ecg ekg csf cns avm avf avn ivc svc aca mca pca dvt pe copd uti hiv gbm all aml cll cml nhl als ms tb"
)
"""Capitals that mean something else in a report."""

GENERIC = _words(
    """
    hospital hospitals clinic clinics clinical klinik klinikum krankenhaus spital general university universitaet
    universität universitätsklinikum department dept division abteilung institute institut institution of the for and
    und der die das am im an in at on saint sankt st medical medicine medizin center centre zentrum health healthcare
    care memorial regional national international central community county city state royal district children kinder
    women imaging radiology radiologie radiological diagnostic diagnostics emergency surgery surgical cardiology
    neurology oncology orthopedics pediatrics intensive unit ward room floor building block wing level suite service
    services system group trust foundation college school science sciences research laboratory lab north south east west
    northern southern eastern western upper lower left right main new old street road avenue lane drive boulevard court
    square way place park house strasse straße gasse platz weg allee rue calle via apartment apt box unit republic united
    kingdom states hopital hôpital hospitalier centre ospedale scanner workstation server archive pacs storage console
    head neck chest abdomen pelvis spine brain heart angio mammo fluoro xray portable mobile trauma outpatient inpatient
    """
)
"""Words of a place's name that tell it from no other."""
