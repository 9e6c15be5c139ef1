package codegen

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/stretchr/testify/require"
)

// forLinux turns the sample into a program that the Linux kernel accepts.
func forLinux(p *Program) *Program {
	p.Target = Linux
	p.Maps = p.Maps[:2]
	p.Maps[0].Type, p.Maps[1].Type = ebpf.PerCPUArray, ebpf.RingBuf
	for i := range p.Functions {
		f := &p.Functions[i]
		f.Section = strings.Replace(f.Section, "_authorization", "", 1)
		f.Instructions[0] = asm.LoadMem(asm.R2, asm.R1, 24, asm.Word).WithMetadata(f.Instructions[0].Metadata)
		f.Instructions[13] = asm.FnMapLookupElem.Call()
	}
	return p
}

func TestCollectionSpec(t *testing.T) {
	p := sampleProgram()
	spec, err := p.CollectionSpec()
	require.NoError(t, err)
	require.Len(t, spec.Maps, 4)
	program := spec.Programs["connect_authorization4"]
	require.Equal(t, ebpf.WindowsCGroupSockAddr, program.Type)
	attach, err := ebpf.AttachTypeForPlatform("windows", 12)
	require.NoError(t, err)
	require.Equal(t, attach, program.AttachType)

	p.Functions[0].Section = "cgroup/sendmsg4"
	_, err = p.CollectionSpec()
	require.EqualError(t, err, "function `connect_authorization4`: section `cgroup/sendmsg4` is no attach point of target windows")
}

// The kernel takes a program the direct way and by way of an object.
func TestCollectionSpecLoads(t *testing.T) {
	p := forLinux(sampleProgram())
	read, err := ReadObject("linux.o", objectOf(t, p))
	require.NoError(t, err)
	requireSameProgram(t, p, read)
	for _, p := range []*Program{p, read} {
		spec, err := p.CollectionSpec()
		require.NoError(t, err)
		collection, err := ebpf.NewCollection(spec)
		if errors.Is(err, os.ErrPermission) || errors.Is(err, ebpf.ErrNotSupported) {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skip("no eBPF here: ", err)
		}
		require.NoError(t, err)
		collection.Close()
	}
}

func TestDescribe(t *testing.T) {
	text, err := json.MarshalIndent(sampleProgram().Describe(), "", "  ")
	require.NoError(t, err)
	requireGolden(t, "description.json", append(text, '\n'))
}

func TestReadObjectErrors(t *testing.T) {
	good := objectOf(t, sampleProgram())
	header := func(change func(*elf.Header64)) []byte {
		var h elf.Header64
		_, err := binary.Decode(good, binary.LittleEndian, &h)
		require.NoError(t, err)
		change(&h)
		return append(encode(nil, &h), good[binary.Size(h):]...)
	}
	section := func(name string, change func(*elf.Section64)) []byte {
		f, err := elf.NewFile(bytes.NewReader(good))
		require.NoError(t, err)
		data := bytes.Clone(good)
		for i, s := range f.Sections {
			if s.Name == name {
				var h elf.Section64
				at := data[len(data)-len(f.Sections)*64+i*64:]
				_, err := binary.Decode(at, binary.LittleEndian, &h)
				require.NoError(t, err)
				change(&h)
				copy(at, encode(nil, &h))
			}
		}
		return data
	}
	record := func(old, new string) []byte {
		require.Equal(t, len(old), len(new))
		return bytes.Replace(good, []byte(old), []byte(new), 1)
	}
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"empty":            {nil, "empty file"},
		"text":             {[]byte("policy corp {\n"), "not an ELF object file"},
		"only a magic":     {[]byte("\x7fELF"), "ELF header is cut short"},
		"another machine":  {header(func(h *elf.Header64) { h.Machine = uint16(elf.EM_X86_64) }), "object is for another machine (EM_X86_64); compile with -target bpf"},
		"big-endian":       {header(func(h *elf.Header64) { h.Ident[elf.EI_DATA] = byte(elf.ELFDATA2MSB) }), "object is ELFDATA2MSB; only little-endian eBPF is supported: compile with -target bpfel"},
		"32-bit":           {header(func(h *elf.Header64) { h.Ident[elf.EI_CLASS] = byte(elf.ELFCLASS32) }), "object is ELFCLASS32; eBPF objects are 64-bit"},
		"executable":       {header(func(h *elf.Header64) { h.Type = uint16(elf.ET_EXEC) }), "file is ET_EXEC, no relocatable object"},
		"half":             {good[:len(good)/2], "damaged object: "},
		"no headers":       {header(func(h *elf.Header64) { h.Shoff, h.Shnum, h.Shstrndx = 0, 0, 0 }), "damaged object: "},
		"long section":     {section(".text", func(s *elf.Section64) { s.Size = 1 << 40 }), "damaged object: section `.text` is cut short"},
		"far section":      {section(".text", func(s *elf.Section64) { s.Off = 1 << 40 }), "damaged object: section `.text` is cut short"},
		"compressed":       {section(".text", func(s *elf.Section64) { s.Flags |= uint64(elf.SHF_COMPRESSED) }), "damaged object: "},
		"large bss":        {section("license", func(s *elf.Section64) { s.Type, s.Size = uint32(elf.SHT_NOBITS), 1<<40 }), "damaged object: section `license` has 1099511627776 bytes; the limit is 67108864"},
		"no code":          {section(".text", func(s *elf.Section64) { s.Flags = 0 }), "damaged or unsupported object: "},
		"short code":       {section(".text", func(s *elf.Section64) { s.Size -= 8 }), "damaged object: symbol `deny` goes past the end of section `.text`"},
		"no BTF":           {section(".BTF", func(s *elf.Section64) { s.Name = 0 }), "section `.maps` needs the types in `.BTF`: compile with -g"},
		"no symbols":       {section(".symtab", func(s *elf.Section64) { s.Type = uint32(elf.SHT_PROGBITS) }), "damaged object: "},
		"bad record":       {record(`{"format":1`, `["format":1`), "section .hopgate: invalid character"},
		"newer record":     {record(`{"format":1`, `{"format":2`), "section .hopgate: format 2; this hopgate reads 1"},
		"unknown target":   {record(`"windows"`, `"beos---"`), "section .hopgate: no such target: `beos---`"},
		"contents of none": {record(`"map":"set_blocked"`, `"map":"set_BLOCKED"`), "section .hopgate: contents of map `set_BLOCKED`, which is not there"},
		"contents short":   {record(`"entries":2`, `"entries":3`), "section .hopgate: contents of map `set_blocked` are cut short"},
		"contents long":    {record(`"entries":2`, `"entries":1`), "section .hopgate: 12 bytes of contents belong to no map"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := ReadObject("x.o", test.data)
			require.Nil(t, p)
			require.ErrorContains(t, err, "x.o: "+test.want)
			require.NotContains(t, err.Error(), "\n")
		})
	}
	for n := range good {
		_, err := ReadObject("x.o", good[:n])
		require.Error(t, err, "first %d bytes", n)
	}
}

// Without hopgate's record sections tell the platform; those of both are taken for Windows.
func TestTargetOfSections(t *testing.T) {
	for section, want := range map[string]Target{
		"cgroup/connect_authorization4": Windows, "cgroup/listen4": Windows, "cgroup/bind4": Windows, "cgroup/connect4": Windows,
		"cgroup/sendmsg4": Linux, "cgroup_skb/egress": Linux,
	} {
		p := &Program{Functions: []Function{{Name: "f", Section: section, Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1).WithSymbol("f"), asm.Return()}}}}
		foreign := bytes.Replace(objectOf(t, p), []byte(recordSection), []byte(".another"), 1)
		read, err := ReadObject("x.o", foreign)
		require.NoError(t, err)
		require.Equal(t, want, read.Target, section)
	}
}

// Symbols that overlap would each become a copy of their bytes.
func TestReadObjectGrowth(t *testing.T) {
	p := sampleProgram()
	good := objectOf(t, p)
	f, err := elf.NewFile(bytes.NewReader(good))
	require.NoError(t, err)
	overlap := bytes.Clone(good)
	symtab := f.Section(".symtab")
	binary.LittleEndian.PutUint64(overlap[symtab.Offset+4*elf.Sym64Size+8:], 8) // deny, now inside count
	_, err = ReadObject("x.o", overlap)
	require.EqualError(t, err, "x.o: damaged object: symbols `count` and `deny` overlap")

	many := &Program{Policy: "many"}
	for i := range 3000 {
		name := "f" + strings.Repeat("x", i)
		many.Functions = append(many.Functions, Function{Name: name, Section: "cgroup/connect4", Instructions: asm.Instructions{
			asm.Mov.Imm(asm.R0, 0).WithSymbol(name), asm.Return(),
		}})
	}
	many.Functions[0].Instructions = append(make(asm.Instructions, 0), many.Functions[0].Instructions...)
	for range 3000 {
		many.Functions[0].Instructions = append(many.Functions[0].Instructions, asm.Return())
	}
	_, err = ReadObject("x.o", objectOf(t, many))
	require.EqualError(t, err, "x.o: damaged object: 3000 programs over 9000 instructions are too many")
}

// peerObjects are what clang 19 made of tests/peers, without debug information.
func peerObjects(t testing.TB) map[string][]byte {
	names, err := filepath.Glob("testdata/objects/*.o")
	require.NoError(t, err)
	require.NotEmpty(t, names)
	objects := map[string][]byte{}
	for _, name := range names {
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		objects[filepath.Base(name)] = data
	}
	return objects
}

func TestReadPeerObjects(t *testing.T) {
	for name, data := range peerObjects(t) {
		t.Run(name, func(t *testing.T) {
			p, err := ReadObject(name, data)
			require.NoError(t, err)
			text, err := json.MarshalIndent(p.Describe(), "", "  ")
			require.NoError(t, err)
			requireGolden(t, filepath.Join("objects", strings.TrimSuffix(name, ".o")+".json"), append(text, '\n'))
			for n := range data {
				_, err := ReadObject(name, data[:n])
				require.Error(t, err, "first %d bytes", n)
			}
		})
	}
}

func FuzzReadObject(f *testing.F) {
	f.Add(objectOf(f, sampleProgram()))
	f.Add(objectOf(f, forLinux(sampleProgram())))
	for _, data := range peerObjects(f) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ReadObject("fuzz.o", data)
		if err != nil {
			require.NotEqual(t, "fuzz.o: ", err.Error())
			return
		}
		p.Describe()
		require.NoError(t, p.WriteASM(new(bytes.Buffer)))
		var b bytes.Buffer
		if p.WriteELF(&b) != nil {
			return // not all that can be read can be written
		}
		_, err = ReadObject("again.o", b.Bytes())
		require.NoError(t, err)
	})
}
