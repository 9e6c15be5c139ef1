package compiler

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// A NET_LUID holds the ifType in bits 48-63 and an index in bits 24-47; the rest
// is reserved.
const (
	luidTypeShift  = 48
	luidIndexShift = 24
	luidIndexMax   = 1<<24 - 1
)

// luidTypes are the interface types that Windows spells by name in an interface's
// name (ConvertInterfaceLuidToName); any other is `iftypeN_INDEX`.
var luidTypes = []struct {
	name   string
	ifType uint64
}{
	{"other", 1}, {"ethernet", 6}, {"tokenring", 9}, {"ppp", 23}, {"loopback", 24},
	{"atm", 37}, {"wireless", 71}, {"tunnel", 131}, {"ieee1394", 144},
}

// ParseLUID reads an interface LUID as the language spells it: `0x...`,
// `ethernet_32773` or `iftype53_32768`.
func ParseLUID(text string) (uint64, error) {
	luid, err := parseLUID(text)
	if err != nil {
		return 0, err.plain()
	}
	return luid, nil
}

// parseLUID reads `0x0006008005000000`, `ethernet_32773` or `iftype53_32768`.
func parseLUID(text string) (uint64, *problem) {
	if digits, ok := strings.CutPrefix(text, "0x"); ok {
		luid, err := strconv.ParseUint(digits, 16, 64)
		if err != nil {
			return 0, wrong(codeBadLUID, "a LUID is `0x` and up to 16 hexadecimal digits", "`%s` is not an interface LUID", text)
		}
		return luid, nil
	}
	const forms = "write `0x...`, `ethernet_32773`, `iftype53_32768`, or name the interface and write `$NAME`"
	name, index, ok := strings.Cut(text, "_")
	if !ok || !isDigits(index) {
		return 0, wrong(codeBadLUID, forms, "`%s` is not an interface LUID", text)
	}
	ifType, err := luidType(name)
	if err != nil {
		return 0, err
	}
	n, err := parseNumber(index, "an interface index", luidIndexMax)
	return ifType<<luidTypeShift | n<<luidIndexShift, err
}

func luidType(name string) (uint64, *problem) {
	if digits, ok := strings.CutPrefix(name, "iftype"); ok && isDigits(digits) {
		return parseNumber(digits, "the interface type in a LUID", math.MaxUint16)
	}
	var known []string
	for _, t := range luidTypes {
		if t.name == name {
			return t.ifType, nil
		}
		known = append(known, t.name)
	}
	hint := "write `iftypeN_INDEX` with the interface type's number"
	if name == "wifi" {
		hint = "did you mean `wireless`?"
	} else if s := didYouMean(name, known); s != "" {
		hint = s
	}
	return 0, wrong(codeBadLUID, hint, "`%s` is not an interface type of a LUID", name)
}

// luidText is the LUID as Windows names the interface, or in hexadecimal.
func luidText(luid uint64) string {
	if luid&(1<<luidIndexShift-1) != 0 {
		return fmt.Sprintf("0x%016x", luid)
	}
	ifType, index := luid>>luidTypeShift, luid>>luidIndexShift&luidIndexMax
	for _, t := range luidTypes {
		if t.ifType == ifType {
			return fmt.Sprintf("%s_%d", t.name, index)
		}
	}
	return fmt.Sprintf("iftype%d_%d", ifType, index)
}
