package codegen

import (
	"bytes"
	"compress/zlib"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/hopgate/hopgate/compiler"
)

// A packed policy is a table as a file: the magic, u32 version, SHA-256 of all that
// follows, u32 length of the description, the description with the contents of the
// sets, and header and nodes as the engine's map has them.
const (
	packMagic   = "hopgate\x00"
	packVersion = 1
	packHead    = len(packMagic) + 4 + sha256.Size
)

// IsPack reports whether a file is, by its start, a packed policy.
func IsPack(data []byte) bool { return bytes.HasPrefix(data, []byte(packMagic)) }

// Pack gives the table as a file. The same table gives the same bytes.
func (t *Table) Pack() ([]byte, error) {
	description, err := t.describe(true).compressed()
	if err != nil {
		return nil, err
	}
	body := binary.LittleEndian.AppendUint32(nil, uint32(len(description)))
	body = append(append(body, description...), t.image...)
	head := binary.LittleEndian.AppendUint32([]byte(packMagic), packVersion)
	sum := sha256.Sum256(body)
	return append(append(head, sum[:]...), body...), nil
}

// ReadPack reads a packed policy. Name stands in error messages: of a file that is
// none, one of another version, a damaged one.
func ReadPack(name string, data []byte) (*Table, error) {
	t, err := readPack(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return t, nil
}

func readPack(data []byte) (*Table, error) {
	switch {
	case !IsPack(data):
		return nil, errors.New("no packed policy; make one with `hopgate policy pack`")
	case len(data) < packHead+4:
		return nil, errors.New("damaged packed policy: it is cut short")
	}
	if v := binary.LittleEndian.Uint32(data[len(packMagic):]); v != packVersion {
		return nil, fmt.Errorf("packed policy of version %d; this hopgate reads %d", v, packVersion)
	}
	body := data[packHead:]
	if sum := sha256.Sum256(body); !bytes.Equal(sum[:], data[packHead-sha256.Size:packHead]) {
		return nil, errors.New("damaged packed policy: its checksum is not that of its contents")
	}
	length := uint64(binary.LittleEndian.Uint32(body))
	if length > uint64(len(body)-4) {
		return nil, errors.New("damaged packed policy: its description is cut short")
	}
	t, err := readDescription(body[4 : 4+length])
	if err == nil {
		err = t.setImage(bytes.Clone(body[4+length:]))
	}
	if err != nil {
		return nil, fmt.Errorf("damaged packed policy: %w", err)
	}
	return t, nil
}

// setImage takes header and nodes, if they are what the description says.
func (t *Table) setImage(image []byte) error {
	if len(image) < tableHeaderSize {
		return errors.New("no header")
	}
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(image[at:]) }
	switch {
	case u32(headerMagic) != TableMagic || u32(headerVersion) != TableVersion:
		return fmt.Errorf("layout %#x, version %d; want %#x, version %d", u32(headerMagic), u32(headerVersion), uint32(TableMagic), TableVersion)
	case u32(headerNodes) > MaxTableNodes || len(image) != tableHeaderSize+int(u32(headerNodes))*tableNodeSize:
		return fmt.Errorf("%d nodes in %d bytes", u32(headerNodes), len(image))
	case len(t.Rules) == 0 || len(t.Rules) > tableRules || len(t.Rules) != int(u32(headerRules)):
		return fmt.Errorf("%d rules described, %d in use", len(t.Rules), u32(headerRules))
	}
	t.PolicyHash = [32]byte(image[headerPolicyHash : headerPolicyHash+32])
	if t.Text != "" && sha256.Sum256([]byte(t.Text)) != t.PolicyHash {
		return errors.New("the policy's text is not the one that was hashed")
	}
	t.image = image
	return nil
}

// Nodes is how many nodes the table has.
func (t *Table) Nodes() int { return (len(t.image) - tableHeaderSize) / tableNodeSize }

// tableDescriptionJSON is what a table says of itself.
type tableDescriptionJSON struct {
	Target Target          `json:"target"`
	Hook   string          `json:"hook"`
	Policy string          `json:"policy"`
	Text   string          `json:"text,omitempty"`
	Steps  [tableLists]int `json:"steps"`
	Rules  []Rule          `json:"rules"`
	Sets   []tableSetJSON  `json:"sets,omitempty"`
	Build  Build           `json:"build"`
}

type tableSetJSON struct {
	Name   string           `json:"name"`
	Field  string           `json:"field"`
	Ranges []compiler.Range `json:"ranges,omitempty"`
}

func (t *Table) describe(contents bool) *tableDescriptionJSON {
	d := &tableDescriptionJSON{
		Target: t.Target, Hook: t.Hook.String(), Policy: t.Policy, Text: t.Text, Steps: t.Steps, Rules: t.Rules, Build: t.Build,
	}
	for _, s := range t.Sets {
		j := tableSetJSON{Name: s.Name, Field: s.Field.String()}
		if contents {
			j.Ranges = s.Ranges
		}
		d.Sets = append(d.Sets, j)
	}
	return d
}

func (d *tableDescriptionJSON) compressed() ([]byte, error) {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	err := json.NewEncoder(w).Encode(d)
	if err == nil {
		err = w.Close()
	}
	return b.Bytes(), err
}

// description is what fits in the engine's map: without the text where that is too
// long.
func (t *Table) description() ([]byte, error) {
	d := t.describe(false)
	b, err := d.compressed()
	if err == nil && len(b) > tableDescriptionSize-4 {
		d.Text = ""
		b, err = d.compressed()
	}
	if err == nil && len(b) > tableDescriptionSize-4 {
		err = t.tooLarge("bytes of rule names", len(b), tableDescriptionSize-4)
	}
	return b, err
}

// maxDescription bounds what a description may grow to, in bytes.
const maxDescription = 256 << 20

// readDescription gives a table that has no image yet.
func readDescription(compressed []byte) (*Table, error) {
	r, err := zlib.NewReader(bytes.NewReader(compressed))
	if err != nil {
		return nil, err
	}
	var d tableDescriptionJSON
	if err := json.NewDecoder(io.LimitReader(r, maxDescription)).Decode(&d); err != nil {
		return nil, err
	}
	t := &Table{Target: d.Target, Policy: d.Policy, Text: d.Text, Steps: d.Steps, Rules: d.Rules, Build: d.Build}
	switch d.Hook {
	case compiler.Connect.String():
	case compiler.Accept.String():
		t.Hook = compiler.Accept
	default:
		return nil, fmt.Errorf("no such hook: `%s`", d.Hook)
	}
	for _, s := range d.Sets {
		field, ok := fieldNamed(s.Field)
		if !ok {
			return nil, fmt.Errorf("set `%s` of no such field: `%s`", s.Name, s.Field)
		}
		t.Sets = append(t.Sets, TableSet{s.Name, field, s.Ranges})
	}
	return t, nil
}

func fieldNamed(name string) (compiler.Field, bool) {
	for f := range compiler.Field(compiler.NumFields) {
		if f.String() == name {
			return f, true
		}
	}
	return 0, false
}

// ParseTableValue reads a table back from the value of an engine's map. Counters are the
// decisions by rule. The sets are those at the start, without what is in them. Errors: a
// value of another version, a damaged one.
func ParseTableValue(value []byte) (t *Table, counters []uint64, err error) {
	if len(value) != TableValueSize {
		return nil, nil, fmt.Errorf("table of %d bytes; want %d", len(value), TableValueSize)
	}
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(value[at:]) }
	switch {
	case u32(headerMagic) != TableMagic:
		return nil, nil, fmt.Errorf("no table: it starts with %#x, want %#x", u32(headerMagic), uint32(TableMagic))
	case u32(headerVersion) != TableVersion:
		return nil, nil, fmt.Errorf("table of version %d; this hopgate reads %d", u32(headerVersion), TableVersion)
	case u32(headerNodes) > MaxTableNodes || u32(tableDescription) > tableDescriptionSize-4:
		return nil, nil, errors.New("damaged table: more nodes or names than there is room for")
	case tableChecksum(value) != [32]byte(value[headerChecksum:headerChecksum+32]):
		return nil, nil, errors.New("damaged table: its checksum is not that of its contents")
	}
	t, err = readDescription(value[tableDescription+4 : tableDescription+4+int(u32(tableDescription))])
	if err == nil {
		err = t.setImage(bytes.Clone(value[:tableHeaderSize+u32(headerNodes)*tableNodeSize]))
	}
	if err != nil {
		return nil, nil, fmt.Errorf("damaged table: %w", err)
	}
	for _, at := range []int{headerSetBase, headerGeneration} {
		clear(t.image[at : at+4])
	}
	clear(t.image[headerChecksum : headerChecksum+32])
	for i := range t.Rules {
		counters = append(counters, binary.LittleEndian.Uint64(value[TableCounters+8*i:]))
	}
	return t, counters, nil
}
