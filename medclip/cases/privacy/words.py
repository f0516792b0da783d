"""Words that a person or a place may be called by and that are ordinary in a report, too."""

__all__ = ["ABBREVIATIONS", "EPONYMS", "GENERIC", "NAMED_AFTER", "ORDINARY", "PARTICLES", "PLACEHOLDERS", "TITLES"]


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
    "bmi ecg ekg csf cns avm avf avn ivc svc aca mca pca dvt pe copd uti hiv gbm all aml cll cml nhl als ms tb "
    "ac si ng hu li lad lcx rca lma cbd chd ercp mrcp ptc lao rao lpo rpo cc mlo ml lm ll rl lul lll rul rml rll "
    "ruq luq rlq llq sah sdh edh ich ivh tia cva tbi hcc rcc tcc scc bcc nsclc sclc dcis lcis idc ilc gist net "
    "nf tof tr te ti fov swi adem pml pres cjd nph mci cidp ald cpa iac ica cca eca pcom acom vp evd etv "
    "abi acl pcl mcl lcl itb tfcc slap hagl alpsa oa osteo ra dish ddd oca opll sle pvns fai tmj mtp mcp dip pip si "
    "sij psis asis ards ild uip nsip cop rb dip pap cf ggo tbm pcp cmv ebv hsv vzv "
    "gi gu ugi sbo lbo gerd ibd uc cd nash nafld ipmn mcn sca pud egd tips pbc psc "
    "bph psa trus tcc utj upj uvj kub ivp vur pkd adpkd cin lmp iup iugr crl bpd hc ac fl efw afi pid ovf pcos "
    "asd vsd pda chf lvh rvh mi cad cabg aaa taa pau imh evar tavr lvef ef hocm sam pfo "
    "lbbb afib vt sob loc gcs nad wnl npo prn bid tid qid dob mrn ap lat obl fna cxr axr vq spect fdg suv "
    "roi mip mpr vr std ce hrct cbct dexa dxa us eus ivus tvus tte tee ett cvc cvl picc rt lt bi no dd sp"
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
    breast breasts cardiac cardio coronary cardiovascular vascular thoracic thorax pulmonary lung lungs respiratory renal
    kidney kidneys urology urologic urinary bladder prostate hepatic liver biliary pancreas pancreatic spleen gastric stomach
    gastrointestinal bowel colon colorectal rectal rectum esophagus neuro neural neurologic neurosurgery cranial cerebral
    skull spinal cervical lumbar sacral bone bones joint joints orthopaedic orthopaedics orthopedic musculoskeletal muscle hand
    foot knee shoulder ankle wrist elbow pelvic thyroid endocrine endocrinology lymph node blood haematology hematology cancer
    tumor tumour oncologic radiotherapy radiation nuclear isotope ultrasound sonography ultraschall mammography tomography
    tomographie röntgen angiography fluoroscopy intervention interventional endoscopy pathology dermatology skin
    ophthalmology eye orbit dental maxillofacial plastic burns stroke infectious disease diseases pulmonology
    gastroenterology nephrology rheumatology geriatric geriatrics obstetrics obstetric gynecology gynaecology fetal neonatal
    pediatric paediatric paediatrics psychiatry rehabilitation screening acute critical chronic internal family primary
    trauma accident casualty theatre operating recovery transplant dialysis pain palliative hospice maternity
    thorax herz lunge leber niere kopf hals wirbelsäule knochen gefäß chirurgie innere neurologie orthopädie urologie
    onkologie kardiologie pädiatrie gynäkologie unfallchirurgie notaufnahme intensivstation
    """
)
"""Words of a place's name that tell it from no other."""

EPONYMS = _words(
    """
    addison alzheimer arnold baker bankart barlow barrett bartholin behcet bell bennett berry bertin binswanger blount
    bochdalek bosniak boerhaave bouchard brenner budd buerger burkitt calvé canavan caplan caroli castleman charcot chester
    chiari child churg cobb colles cooper cowden crohn cushing dandy deauville denonvilliers devic douglas down dupuytren
    ebstein erdheim ewing fabry fallot fleischner foley fontan forestier freiberg galeazzi gardner garden gartner gaucher
    gleason glisson goodpasture gorlin graves guillain haglund hamman harris hartmann hashimoto heberden hickman hill
    hirschsprung hodgkin hoffa horner hounsfield hunter huntington hurler jakob jefferson jones kaposi kartagener kawasaki
    kerley kienböck kienbock killian klatskin klinefelter köhler kohler krabbe krukenberg langerhans legg leigh lewy
    leydig lindau lisfranc looser luschka lynch madelung maisonneuve mallory marfan meckel menetrier menkes ménière
    mirizzi modic monro monteggia morgagni morison morquio morton murphy nissen osgood paget pancoast parkinson perthes
    peyronie pick pompe pott pugh rasmussen rathke raynaud recklinghausen reidel riedel rolando rosai roux sachs salter
    scheuermann schatzki schlatter schmorl segond sertoli sever sjögren sjogren smith stener still sturge swyer sylvius
    takayasu tarlov taussig tietze tornwaldt thornwaldt turner virchow waldeyer walker wallenberg warthin weber wegener
    wernicke whipple willis wilms wilson wirsung zenker
    """
)
"""People whom a disease, a sign or a measure is named after: none is named where that stands beside."""

NAMED_AFTER = (
    r"(?:'s?)?(?:[\s-]+(?:[A-Za-z]'?|and|or|cell|type|[A-Z][a-zé]+))?[\s-]+(?i:diseases?|syndromes?|lymphomas?|cysts?|fractures?|angles?"
    r"|signs?|palsy|lesions?|nodes?|nodules?|lines?|scores?|grades?|stages?|class(?:es|ification)?|criteria|types?|index|units?"
    r"|tumou?rs?|sarcomas?|carcinomas?|malformations?|deformity|dislocation|diverticul\w+|hernias?|contracture|thyroiditis"
    r"|oesophagus|esophagus|encephalopathy|neuroma|catheter|changes|cells?|bodies|pouch|space|fat|duct|cleft|rings?|joint"
    r"|aneurysms?|granulomatosis|arteritis|purpura|method|fundoplication|procedure|anomaly|variant|reaction|phenomenon)\b"
)
"""What follows the name in such a term."""
