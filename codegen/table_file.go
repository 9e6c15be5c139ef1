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
	"slices"

	"github.com/hopgate/hopgate/compiler"
)

// A packed policy is a table as a file: the magic, u32 version, SHA-256 of all that
// follows, and then, each after its u32 length, the description and header with
// nodes as the engine's map has them, and for each set a u32 key and its table.
const (
	packMagic   = "hopgate\x00"
	packVersion = 4
	packHead    = len(packMagic) + 4 + sha256.Size
)

// IsPack reports whether a file is, by its start, a packed policy.
func IsPack(data []byte) bool { return bytes.HasPrefix(data, []byte(packMagic)) }

// Pack gives the table as a file. The same table gives the same bytes.
func (t *Table) Pack() []byte {
	var body []byte
	piece := func(data []byte) {
		body = append(binary.LittleEndian.AppendUint32(body, uint32(len(data))), data...)
	}
	piece(t.description)
	piece(t.image)
	for _, s := range t.SetTables {
		body = binary.LittleEndian.AppendUint32(body, s.Key)
		piece(s.Blocks)
	}
	head := binary.LittleEndian.AppendUint32([]byte(packMagic), packVersion)
	sum := sha256.Sum256(body)
	return append(append(head, sum[:]...), body...)
}

// ReadPack reads a packed policy. Name stands in error messages: of a file that is
// none, one of another version, a damaged one. The table refers to the data.
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
	case len(data) < packHead:
		return nil, errors.New("damaged packed policy: it is cut short")
	}
	if v := binary.LittleEndian.Uint32(data[len(packMagic):]); v != packVersion {
		return nil, fmt.Errorf("packed policy of version %d; this hopgate reads %d", v, packVersion)
	}
	r := packReader{data[packHead:], nil}
	if sum := sha256.Sum256(r.left); !bytes.Equal(sum[:], data[packHead-sha256.Size:packHead]) {
		return nil, errors.New("damaged packed policy: its checksum is not that of its contents")
	}
	t := &Table{description: r.piece()}
	image := r.piece()
	for len(r.left) > 0 && r.err == nil {
		t.SetTables = append(t.SetTables, TableSetTable{r.u32(), r.piece()})
	}
	if r.err == nil {
		r.err = t.setImage(image)
	}
	if r.err != nil {
		return nil, fmt.Errorf("damaged packed policy: %w", r.err)
	}
	return t, nil
}

// packReader takes a packed policy apart.
type packReader struct {
	left []byte
	err  error
}

func (r *packReader) take(n uint64) []byte {
	if n > uint64(len(r.left)) {
		r.left, r.err = nil, errors.New("it is cut short")
		return nil
	}
	taken := r.left[:n:n]
	r.left = r.left[n:]
	return taken
}

func (r *packReader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *packReader) piece() []byte { return r.take(uint64(r.u32())) }

// setImage takes header and nodes, if an engine would take them.
func (t *Table) setImage(image []byte) error {
	if len(image) < tableHeaderSize {
		return errors.New("no header")
	}
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(image[at:]) }
	target, ok := targetOfMagic(u32(headerMagic))
	switch {
	case !ok || u32(headerVersion) != TableVersion:
		return fmt.Errorf("layout %#x, version %d; want version %d", u32(headerMagic), u32(headerVersion), TableVersion)
	case u32(headerNodes) > MaxTableNodes || len(image) != tableHeaderSize+int(u32(headerNodes))*tableNodeSize:
		return fmt.Errorf("%d nodes in %d bytes", u32(headerNodes), len(image))
	case u32(headerRules) == 0 || u32(headerRules) > tableRules:
		return fmt.Errorf("%d rules", u32(headerRules))
	case u32(headerHook) > uint32(compiler.Accept):
		return fmt.Errorf("hook %d", u32(headerHook))
	}
	for _, s := range t.SetTables {
		if s.Key >= TableSetKeys || len(s.Blocks) < 2*tableBlock || len(s.Blocks)%tableBlock != 0 {
			return fmt.Errorf("a set's table of %d bytes at key %d", len(s.Blocks), s.Key)
		}
	}
	t.Target, t.Hook, t.image = target, compiler.Hook(u32(headerHook)), image
	t.PolicyHash = [32]byte(image[headerPolicyHash:][:32])
	if len(t.description) > t.room() {
		return fmt.Errorf("a description of %d bytes", len(t.description))
	}
	return nil
}

func targetOfMagic(magic uint32) (Target, bool) {
	for _, t := range []Target{Windows, Linux} {
		if magic == TableMagic(t) {
			return t, true
		}
	}
	return 0, false
}

// Nodes is how many nodes the table has.
func (t *Table) Nodes() int { return (len(t.image) - tableHeaderSize) / tableNodeSize }

// RuleCount is how many rules the table has, with the default.
func (t *Table) RuleCount() int { return int(binary.LittleEndian.Uint32(t.image[headerRules:])) }

// compressed is the description as the map has it: without the text where that is too
// long.
func (d *TableDescription) compressed() ([]byte, error) {
	compress := func() ([]byte, error) {
		var b bytes.Buffer
		w := zlib.NewWriter(&b)
		err := json.NewEncoder(w).Encode(d)
		if err == nil {
			err = w.Close()
		}
		return b.Bytes(), err
	}
	b, err := compress()
	if err == nil && len(b) > tableTextSize {
		d.Text = ""
		b, err = compress()
	}
	return b, err
}

// Revise changes what the table says of itself. An error says that there is no room for it.
func (t *Table) Revise(change func(*TableDescription)) error {
	d, err := t.Description()
	if err != nil {
		return err
	}
	change(d)
	description, err := d.compressed()
	if err != nil {
		return err
	}
	if room := t.room(); len(description) > room {
		return fmt.Errorf("policy `%s`: no room for %d bytes of names, the limit is %d", d.Policy, len(description), room)
	}
	t.description = description
	sum := t.checksum()
	copy(t.image[headerChecksum:], sum[:])
	return nil
}

// maxDescription bounds what a description may grow to, in bytes.
const maxDescription = 256 << 20

// Description is what the table says of itself. An error says that it is damaged.
func (t *Table) Description() (*TableDescription, error) {
	d := &TableDescription{}
	r, err := zlib.NewReader(bytes.NewReader(t.description))
	if err == nil {
		err = json.NewDecoder(io.LimitReader(r, maxDescription)).Decode(d)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("damaged table: its description: %w", err)
	case len(d.Rules) != t.RuleCount():
		return nil, fmt.Errorf("damaged table: %d rules described, %d in use", len(d.Rules), t.RuleCount())
	case d.Text != "" && sha256.Sum256([]byte(d.Text)) != t.PolicyHash:
		return nil, errors.New("damaged table: the policy's text is not the one that was hashed")
	}
	return d, nil
}

// ParseTableSheets reads a table back from the sheets of an engine, one after the other.
// Counters are the decisions by rule. The tables of sets are in maps of their own. Errors:
// sheets of another version, damaged ones.
func ParseTableSheets(sheets []byte) (t *Table, counters []uint64, err error) {
	if len(sheets) == 0 || len(sheets)%TableValueSize != 0 {
		return nil, nil, fmt.Errorf("table of %d bytes; want some times %d", len(sheets), TableValueSize)
	}
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(sheets[at:]) }
	_, ok := targetOfMagic(u32(headerMagic))
	switch {
	case !ok:
		return nil, nil, fmt.Errorf("no table: it starts with %#x, want %#x", u32(headerMagic), TableMagic(Windows))
	case u32(headerVersion) != TableVersion:
		return nil, nil, fmt.Errorf("table of version %d; this hopgate reads %d", u32(headerVersion), TableVersion)
	}
	r := packReader{}
	for sheet := range slices.Chunk(sheets, TableValueSize) {
		r.left = append(r.left, sheet[:TableCounters]...)
	}
	image := r.take(tableHeaderSize + uint64(u32(headerNodes))*tableNodeSize)
	t = &Table{description: r.piece()}
	if r.err != nil {
		return nil, nil, errors.New("damaged table: more nodes or names than there is room for")
	}
	if err := t.setImage(image); err != nil {
		return nil, nil, fmt.Errorf("damaged table: %w", err)
	}
	if t.checksum() != [32]byte(image[headerChecksum:headerChecksum+32]) {
		return nil, nil, errors.New("damaged table: its checksum is not that of its contents")
	}
	for _, f := range loadedFields {
		if f[0] != headerChecksum {
			clear(t.image[f[0]:][:f[1]])
		}
	}
	return t, TableCounts(sheets[TableCounters:], t.RuleCount()), nil
}

// TableCounts are the decisions by rule in what stands at TableCounters of the first sheet.
func TableCounts(counters []byte, rules int) []uint64 {
	counts := make([]uint64, min(rules, len(counters)/8))
	for i := range counts {
		counts[i] = binary.LittleEndian.Uint64(counters[8*i:])
	}
	return counts
}
