package tests

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"flag"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	goruntime "runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/codegen/verifier"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/runtime"
	"github.com/hopgate/hopgate/tests/gen"
)

var damages = flag.Int("damages", 200, "how often each object is damaged")

// An object may be hostile: whatever its headers, symbols, relocations, types and
// code say, it is read, verified and run, or is an error, in bounded memory and time.
func TestDamagedObjects(t *testing.T) {
	for name, object := range realObjects(t) {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, uint64(*damages)))
			var sound int
			for range *damages {
				if usable(t, damaged(rng, object)) {
					sound++
				}
			}
			require.NotZero(t, sound)
			t.Logf("%d of %d can be read", sound, *damages)
		})
	}
}

// realObjects are clang's, and hopgate's own.
func realObjects(t *testing.T) map[string][]byte {
	objects := map[string][]byte{}
	files, err := filepath.Glob("../codegen/testdata/objects/*.o")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		objects[filepath.Base(file)], err = os.ReadFile(file)
		require.NoError(t, err)
	}
	file, text := gen.Case(4) // with dynamic sets
	d, err := compiler.Compile(check(t, file, text), nil)
	require.NoError(t, err)
	policy, err := codegen.Generate(d, nil)
	require.NoError(t, err)
	var object bytes.Buffer
	require.NoError(t, policy.WriteELF(&object))
	objects["policy"] = object.Bytes()
	return objects
}

// usable does with an object what the commands do: it reports whether it can be read.
func usable(t *testing.T, object []byte) bool {
	const bound = 64 << 20 // bytes; without damage it is less than one
	var before, after goruntime.MemStats
	goruntime.ReadMemStats(&before)
	p, err := codegen.ReadObject("damaged.o", object)
	if err == nil {
		p.Describe()
		require.NoError(t, p.WriteASM(io.Discard))
		_ = p.WriteELF(io.Discard) // not all that can be read can be written
		_, _ = p.CollectionSpec()
	}
	goruntime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(bound), "%v", err)
	if err != nil {
		require.NotContains(t, err.Error(), "runtime error")
		return false
	}
	_, _ = verifier.Verify(p)
	hook := runtime.NewHook(nil)
	if _, err := hook.Attach(p, nil); err == nil {
		r := request("10.0.0.1:443/tcp")
		hook.Connect(&r)
	}
	return true
}

// damaged changes a few words of an object where they mean something: in its
// headers, symbols, relocations, types, records and code.
func damaged(rng *rand.Rand, object []byte) []byte {
	f, err := elf.NewFile(bytes.NewReader(object))
	if err != nil {
		panic(err)
	}
	var header elf.Header64
	if _, err := binary.Decode(object, binary.LittleEndian, &header); err != nil {
		panic(err)
	}
	data := bytes.Clone(object)
	for range 1 + rng.IntN(3) {
		from, to := uint64(elf.EI_NIDENT), uint64(binary.Size(header))
		switch n := rng.IntN(8); {
		case n >= 4:
			s := f.Sections[1+rng.IntN(len(f.Sections)-1)]
			from, to = s.Offset, s.Offset+s.FileSize
		case n > 0:
			from, to = header.Shoff, header.Shoff+uint64(header.Shnum)*uint64(header.Shentsize)
		}
		size := []uint64{1, 2, 4, 4, 4, 8}[rng.IntN(6)]
		if to-from < size {
			continue
		}
		at := from + rng.Uint64N((to-from)/size)*size
		word := odd(rng, data, at)
		copy(data[at:at+size], word[:])
	}
	return data
}

// odd is a number that a reader may stumble over, at a place of the data.
func odd(rng *rand.Rand, data []byte, at uint64) (word [8]byte) {
	copy(word[:], data[at:])
	n := binary.LittleEndian.Uint64(word[:])
	switch rng.IntN(9) {
	case 0:
		n = 0
	case 1:
		n = ^uint64(0)
	case 2:
		n = 1 << rng.IntN(64)
	case 3:
		n = 1<<rng.IntN(64) - 1
	case 4:
		n = uint64(len(data)) - rng.Uint64N(16)
	case 5:
		n++
	case 6:
		n--
	case 7: // what stands elsewhere: another type, section or symbol
		copy(word[:], data[rng.Uint64N(uint64(len(data))-8):])
		return word
	case 8:
		n = rng.Uint64N(256)
	}
	binary.LittleEndian.PutUint64(word[:], n)
	return word
}
