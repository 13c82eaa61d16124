"""What `tokenizers` 0.23.3 knows of each code point, made by asking the library: `python -m tests.code_points_of_the_library`.

`CATEGORY` and `SPACE` are those of its regular expressions (Oniguruma, Unicode 16.0), `NUMERIC` is what Rust calls numeric, and `NFC` and
`NFKC` say what its normal forms do to a character (`code_points.INERT`, ...). Each is a table of runs as `code_points.pack` writes it.

Tested in tests/tokenreel/vocabularies/pre_tokenizers/test_code_points.py.
"""

LIBRARY_VERSION = "0.23.3"
UNICODE_VERSION = "16.0"
CATEGORY = (
    "c-rk;ON?Yy89x7i&*R>6>sD2ts=C$PHQim)^Xg%Gn4V!?D8fVoI)NY>#bAhHL=%Mo3lkFE7+kP%=MGmI!`g+>xHCpwvyr$khPZLd%8;0V-+#`n>gt|`c`$>6-2YVFd(Y$k"
    "?^i9l)s!-f2<$oI)$|;1hlw;T0LKsE{FvM_<#cPn*O}kQ>lw$VjI~@b;{^^mO2l}|^o=qxTgm8_!EvNHC;2c<g6?#U!}HQhyJSE@bE3qwM8y%}?ET1^^bX&*a{~+*z6}Op"
    "y3=r+$(~I1IUNb&A)jc?r4>VR3EfP|k36*WZK##V;;d$m-L4>5pYT&9b^YN&l!;erO$D9|_h>~tqcqE8iA`~mmT5{CqhWJ#73Y~fQ4fzfGuMJWi`LMX3L|2h42PI)qkGWT"
    ">8P+8-HNdQn>pAT7-2k*Rbe5W5<_Grxgt}KBTWaE7Rd6<T#2yb8DWsamn`t><mMS@WgTn_O%d2a_{@rTWMEjrv7ekBuQ<U%g3~*ZPDsWhz9DELSM1ovV;-{(voL>>6Ap1k"
    "4e5lNB5@tEWynYDgelq2Ei^=(9V}@a$)SN`9I-Fs3Zw<}FF}C~jU>|(ty%9E94)7#x{DXslynpr#A2F{onk>KI`I~U2O}BC>WY#@JQQ$T=<q3^yb7(ksKk@_9-hy7bU&`2"
    "<E$8FeQ%!>VV_4BN@B|%&9dBujEVs?Pz3H&qSelMSRp4alLFXV&=);`k0W%!8QuihNBoBPiujBbWwBoe|J!;MM$0zGEIPdq<&GjkOC*S3eC|^Jtfn*30!GA#g?v%KTI=Ej"
    "f@@o>Et<;p(Hx$V8J}f--9npWPH~p!8C4WDE}mt!AF62c*cG}Pp}6xDatpiWfOwxR=Xp0S<~g)1*%%IsyF@syxj{HltQ)1V++@65Oj3yFi0#Yh!UkVrn<b|ss<Okq3K%*)"
    "#A+-)DTSMqC?xS~*<d)nj%fQwWQnygkskbuHY9)0MkjJR6mR_!t*>m^FVyAefye9Lfr*Rxi}cQ3N!PdGGaI|}zWT|*DtSmQQxM-7u|2_4`rgh?Q!NvRa9hsqyzx`=1R<km"
    ";d&Xec4=HlR$3fW-mSYuDnGnf0DZJ!wZQe}Dm~SCbG5&}So7jzp(Vp63q6@~``4vLoT6{QB7S<jp#BE=^_+TBf1-Eg4_8L?a(1cMvfLr$3?AOB%o+LXD1{&KZ1Zu!``-I-"
    "kY6MF2O&01Pq7PnR)iN|loaQrqL5@Y_`L*+J+E^<*XJDRF-T}2y&cMVT%u~PA<oWFER7XHMoa!LyrGj;)L%%ck{(m{DaI6?6UXFOl$Jrij5(hr-6EQ8^pjJh;S&0ZBiwKZ"
    "vcKw#^;xZ6;O`%I9b+U?t0<G4cz&t>9Kz!YUxZ_c9VHLjeyrNpIEz#=y{oGzvNrT;Y|h@VDQ;HjG;d^)QO=rXG_@%3o>dyevfthOk;(Mwthk_;;E5H~bDCaR%g**_qNlnT"
    "LL=t5G3$g%h{t=jwjPIoNA*#?m7gz>hI+A4Xztnh&ZVOE`Ld;ZsCZb+u`T6-$MAtMyN$fq0byfm=y%o7mCG<ipYN68X0#OcHPkICT;bLj)|%#Y2=cn(V&-bj2PO|rcia<K"
    "FWpz&=fFme$_4$@Xl1C*`Hc<GmHO7tF6lK-d0lE#2d$5f+;A-E{zA{`p%-Pt+NWbn1qEYa#d(_@HPR+XBFv9SfHLi51#7KiwiTTZ%YX(>)X7rd9*ngd!h5o3By)Rd1Q!~p"
    "XmX*FNl%0<i$=keJ{ki_C$q^cGvCJPoYyX7xugYcq-UdSeMgSz)Y#?z^)p~wW@F8pJ2)CEa_Ma~I5p2}DComOlW28~3@06+`~7w%+3VTq)EAwcV|}OP)W|e0R`^G9K9TB>"
    "z=Zsk(9Wg#;q2Z@NSW%Y^S?ce4$l^JEOm`!ydPw|4!KhodR4B+Q~Wt$+ls!XW){cJUmURXcu1VI$tHSe<>{-`8|8YbqSwCrBAN0}k9~`)9mHeL|J;23_v;-r8-KaqZAkEb"
    "5pjsthWw5b=OMIijz(ti>uig0YC0Y3?>vh2OHNl;1bxZfck(w+`hV%j<B=X*3=O-^f2yA|RaT%;7Hd8Iwzt1|>|P!hKX~BZ{scdO__649+`9hE=(8F9aM&4kzE-Tfy1KgR"
    "D6Fo=7Mw+AxsHuhxw<M=&+#Y^68jk*7vK=D&<fduF2Ht9UDD@r)FL)LL%k<F4XypFqa}_`Wga|CFP+YuV{!f~>$J43k;UGakoIq`vv}}ZE;?0@{>+6txw(lcG`93<$(E0u"
    "rrsYlY@2?I`jlbpEYW21U(vh2sYPL$QWz{5xBxAk=kB(C7M(^9RF3)T7nj$nZCyC-+SmSL{-&3*DtlRf({>OZ9eo)Nu$8Yfej_~il}?wd%$v)uhaXgh`x!m$?OW4N*?;gW"
    "-Lt(He!2e7N6j;6I-dFQ+x>U>UDZMhEwu141-gl|+^VaEkD=e*%KOx+_$C#)qQ0zjtGv4(PRS)-p--agx1QO;ZSj;W-8{Z2>Gc$^#s|x{j(9A{Hus;SV)0DxfA7Y7CDb=2"
    "E?rj#*+*tTzRCCW>#C1it=1G5YzC_T_qhJ<d+NP5R9a}Eg%(<9p@kM&XrYA`T4>?_7ksON7FuYbg%(<9p@kM&XrYA`TKGi4>NpHTw-*MX3I(pz4ZTrk#N9z}AbWKf)uum~"
    ")T4S(jyQ};vs4E8JEuYV)2zFA$X^)CpFpP1^+$HQ>9ZcqM*O>7Jt9_`1E~?=g2D0ofn#u^<Z7D}-~9t(>%gH>^-$T$hB%Z_CaB2(&RE+p2}T=R1Y-@pliF%qTT_@?&R`M8"
    "tx<)sx(-^|As*sT0UL5rW@OYvS)=X5I%AzR4i_iy!p(u)$)Wj>ZRHe>skmW*d|1{)1J3px#bKONX~?t?oa!KiRxmc`!ccApoN5R+TR2&p5*zB;;RIj8=u`pjY9)frabbIx"
    "E5W2fSz|TqBiQgYqo<6lq<7|OsIgkgE->unx{)3nC@1R1p&`@^tu8WaO=Jwl5dzB80mIfnXJvGI-CiUK0fL~g3d>4PsbndU3=ZG~ku%Y7am^LZ)-iMx2h9iRX^)0O3F2~C"
    "Rbax5O}7V6^TMK&Z}gZXmuct*9fnacr9x7K13?14D^p}zlmtE0DikwPMX5yF@V{i$2Ajg`u!M$-<gz%U0`Z|UNFDGv6L`KkLlQu{Fo>5JHv}ZXMxBVMjAHqdMQuM0VSmSx"
    "$^5R8Tg0jS>kJHRW+NUocU;woX{6FzjVD#;FLmV;mRBZYOhP9NVm0i9@kC8ZtxC+bT;R+@u_3Hj6GqCpR1c`0jhORsMar%RHP@vl_GPUG^|eDnAl{lee5tI<J=?nj>)qa9"
    "cRr{Gdk@Svn#&w#eXY*)M`4&q7mkS>6j&54*&rO0*euiz#ivgds`NAy2!SJOU1WyYQl;uN#-Y~6?+QOxT7_qCU8QTUO{j&)NSn$8ok&8@NDA^5m8XH?f?b@|K|ToUn=JM="
    "M<M$_-D+z*O2tUpfZI3p{`siseQq|AqM4eh((!+?m|3cEwN<g=paM&}lEfs%8RZ#CE0~zEcC%Yh8aWSTS@f9JV*Zq>A+^0WO)+jp)VjQ9w6hDo!6T$M#A`~B!8O$c<51id"
    "x3Xri;7%iDdfhr2S(zbv3Ahkktm^EK6xrwmWcX$}s0Iq%N5nEw@81-sHz9-Gr8*pp(9B4{P3nE#9Z*GTFAkP`wkbBKO89u=Q~8k+9Xw2cG7?i+e6`7Eiq$NF($I12p;DT<"
    "G$19D5~zcTZIC>cvAoVomypIz8H7ISl`2D`U&c>}ID}-Z{%C`=A+%|l)gW%!s%a!jF|537LzG2Di{kwv8nh{DXyq)_DPqM6uB4{Rn_+eYEf(xrh%Y7nn<8w@f+GZ#UOupa"
    "l8z<zM8@s5KM9jcn=aK%SX;K6Vk;d>ux6p(2qtzzHl7b=el)I!d4B*rMfAg2g)hobH+TYUSd<GaC>NVF5j7;|O|1clxfBv6w!e`>Ar;M`%)Z0YU4+zprC>_UTe9ptDqM3Q"
    "${|r`qq1ib74lw;VxaP=PsU|3S2YeLOcJF@#Ax7JBZ(G`d%^P&{KV05tk8rv2HiB22fF8MNNca^0&x&KzBJI!xk>B_>(~UA5;6FuIv#%^%`3Z_<)~R?>~8K$W&`<sdeDW@"
    "VcTYe$OmdRu-f_1(T5;aA+2Nlu~DG(qsbMmnnEphx}^nM@obP{GA!k)%!eL>nR-;}3>K%OJ+teN;sE>;`FW%cVf+{N7WFa"
)
SPACE = "c-mv&WEEmeVU%LL&sfhb%f!m4&$xh*0R}`FIH4?l1`+@x76<?);sZG"
NUMERIC = (
    "c-rkxJxfAS7{2d0_nv$2lOKgQO+sskqz^+Xg2=(iA*Cg>CBexI><d8}ogA8)8X}^g8XKEhYH*04tv}!#ZAG+nuH5VrflH&$%XxX9hxg+-N&@>#BgW6sKocjZK@}C5YhYsA"
    "TZN%-pseeGEfl4ewmeAV$=c(u5C~!#^}b74-5@XLr9xZ?H0PN1oLmXkqMKw=*!1x=^#D<W{G*8Zi?~Hf9AjMG3(C18nP1|b#Q~NZ9#bP^P(ypbwGq~1W=0E&GsgPaOv;>R"
    "QJ&Gt#*i_gFN=hIZR8Y_>aO01){(>^bn8>@v%QxftgPoEP>|d6k(TtlAhpuq)Xtr}YkMW#2N5dp4>T>0RSD;2Q@Fw#-tlPG5n3WnYBo;(dv6QMH?(#pr5o%Hrf?T?L+w<o"
    "{WPc3-B<m^Nm+HcTjgC{{Oy)pIypXmn5rZdv*VCttUEtfrB0m*?(zYphaUb3)Qhh11vl+HPX"
)
NFC = (
    "c-rk$ziSjh6rS&!nVsFe+s%2N)!}&<711V$2IH?LiWX6fHWo_Kgd@QOR1&NN{{RsLK?K1jy^2;Mb~X}0w6n9du(J`tw|nckcUjyZ+Jt+L-Ff@Xd*8nI&9X{aI6{mboM+fw"
    "1GEhS`1o#vQBbEDkWJuBWz5%M4Rekj2{VdT^Kq~<N!PIZ_01UDkD&%_w0~KOV%ZQ{T$Exfctyyr$hws7`81qObC%(NIY|knp-u{2hrtLg>BwAVY^K;uy9g4()T>fr1u>)s"
    "D?Qv#^Q!115ij7wwgb(F`Z;#sk+8qTUHyrt(eR0}cqQp#PcY6SsBjVwG$J?y51Mbrt-Xf49hVtGSzYF2&=rR7A_HALBvn876m@+Ev+aG}JU_yOZJuWXuh6Vd=-rr+#=b%l"
    "X+@QT_=b9%$jh+Hq)&2TQlc<QXG=5>-q+Uf8Taiy0rqNxRnFirCV*3Vm$ZEXQ!@JkpK&@9Ja*cy$$896EN8?o7~w6f@CLTxi9PB%c<mcGF5jnXnaI1XUpj1|OU`K3ExH#i"
    "rB#VRZ3;vAr2l4mD5sc4$$fbPJZDQ^!mN3(huFW>!K!m|pH__lJnBWhTrt(qhPG+{21EM~MijYxGE7~f49T9li2Acr<r$ds-#q!ftm0SDU$&k+N0+4z;yF@<LYAJhWRi_}"
    "e|EnP<!Y^S6tNe!&I0K<KwZ=bbE6k&{1ce3H+}"
)
NFKC = (
    "c-rk$OKVe65We5cIrrR~o1|&lf|}a&ZGE7%*kXO5Sg8vY>tkmh3rny*iY*p5Dz1u%2!bF5X%V^=5ncKE0pe0O?%cX?>rUs~q)pqTZLCrdG84{o=9_P3&W$qz13-ZkF?gH;"
    "^3aJMznS0qX_s_L!;n~jTo_kTcJ@)Ppux~`cie1bi1$7H3x1QVLVJj*+y(6(M-ot~-;hfL)r7j#jNho>TlejJGmgy%kN_+8E{I!PE+h=jio2HcK;Zgiz82nj!gDCJxnYS9"
    "i%CQXX2PQ}$)iFX6~|OYK;kMvI}uPS<l|f5P^04NDH6&Q%pZE8Q4|@wqB9cjVogVCieDj(rxN5N9`aY}MYTt0k55=Kt$r8n6a1ri!id2rxM1pF1W2MbhQ^jIt*7WS7Ro_D"
    "+meIXW{?~GY{dds5{j}XFwzk@@>p<@Aju&XU`tGaqZKkp2qG;RWW}BsxJtY2KAws1PwKqifD8{~ny&LLDa%m(w3H_LWgE7-u0$M=A`fEs0LO>YX!CaA4xCY_NFC8>x{XPS"
    ";vG`SZf+5?D1L~GjR@?)uzG-G+;*8FA#dUy8fi6At$_`aLALo<8ZIXfQ&(H8D&i(;1g}b-fn_|Y-m^<qnGH-F-|$#Jl8ZK0n59ANMK^Gao29mga6(!%LNBQ=_c-E)^(V>q"
    "lC0%D(RWk`-w7HQ{1<w^$>4)0VYKIwsZ%lcF26aCULh$zvdxE->WDacGS|YsV+f6N)Jz?YK_wac@@CCd^I9QgAF=!*u-%aUs%*hIcRnX}rvy)h1`$+hVSvh>K&Mf^iJCFW"
    "u^q}c^t{d~%ZdVr|6ArdH<#`*R=Vv;l*FMFp>TBP_j;`<Yv+`VeNOdSXuz6z^IN-8f87Ks<VfX@sw`z$*MGvYl%*`|E3}%Tn99dmXll>q?z8()bJkcv$;l(405gBP(8eO?"
    "7E9e0L*|1lu&@-1Wszq}i<}FTR!AmayP|bkyA~!=ninnd!;1K{v~I=Qwd`vt4!n9+Me0jM<6=pJ3IS+Af9Q`2wrnT=q5cN??o7x"
)
