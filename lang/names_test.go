package lang_test

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/lang"
)

// TestNamesAreTheRegistries reads the tables anew: every name of them gives its
// number, and every number a name that leads back to it.
func TestNamesAreTheRegistries(t *testing.T) {
	for _, tt := range []struct {
		path    string
		numbers func(string) ([]uint32, bool)
		name    func(uint32) string
		rows    int
	}{
		{"data/iftypes.tsv", lang.InterfaceTypes, lang.InterfaceTypeName, 304},
		{"data/tunneltypes.tsv", lang.TunnelTypes, lang.TunnelTypeName, 20},
	} {
		src, err := os.ReadFile(tt.path)
		require.NoError(t, err)
		lines := strings.Split(strings.TrimSpace(string(src)), "\n")[1:]
		require.Len(t, lines, tt.rows, tt.path)
		for _, line := range lines {
			columns := strings.Split(line, "\t")
			n, err := strconv.ParseUint(columns[0], 10, 32)
			require.NoError(t, err)
			want := uint32(n)
			for _, name := range columns[1:] {
				if name == "" || strings.HasPrefix(name, "(") {
					continue
				}
				got, ok := tt.numbers(name)
				require.True(t, ok, name)
				require.Equal(t, []uint32{want}, got, name)
			}
			shown, ok := tt.numbers(tt.name(want))
			require.True(t, ok, line)
			require.Equal(t, []uint32{want}, shown, line)
		}
	}
}

func TestShortNames(t *testing.T) {
	for name, want := range map[string][]uint32{
		"ethernet": {6}, "wifi": {71}, "loopback": {24}, "ppp": {23}, "tunnel": {131}, "prop-virtual": {53}, "cellular": {243, 244},
	} {
		got, ok := lang.InterfaceTypes(name)
		require.True(t, ok, name)
		require.Equal(t, want, got, name)
	}
	for name, want := range map[string]uint32{"none": 0, "6to4": 11, "teredo": 14, "isatap": 13, "iphttps": 15, "gre": 3, "l2tp": 5, "pptp": 6} {
		got, ok := lang.TunnelTypes(name)
		require.True(t, ok, name)
		require.Equal(t, []uint32{want}, got, name)
	}
	require.Equal(t, "wifi", lang.InterfaceTypeName(71))
	require.Equal(t, "wwanPP", lang.InterfaceTypeName(243))
	require.Equal(t, "none", lang.TunnelTypeName(0))
}

// An unknown name must never become number 0, which is a real tunnel type.
func TestUnknownNames(t *testing.T) {
	for _, name := range []string{"", "vpn", "WiFi", "Ethernet", "(none; Windows only)", "0", "if_type_ppp"} {
		numbers, ok := lang.InterfaceTypes(name)
		require.False(t, ok, name)
		require.Empty(t, numbers, name)
		numbers, ok = lang.TunnelTypes(name)
		require.False(t, ok, name)
		require.Empty(t, numbers, name)
		_, ok = lang.Protocol(name)
		require.False(t, ok, name)
	}
	require.Empty(t, lang.InterfaceTypeName(0))
	require.Empty(t, lang.TunnelTypeName(^uint32(0)))
}

func TestProtocols(t *testing.T) {
	for _, name := range lang.ProtocolNames() {
		number, ok := lang.Protocol(name)
		require.True(t, ok)
		require.Equal(t, name, lang.ProtocolName(number))
	}
	tcp, _ := lang.Protocol("tcp")
	require.EqualValues(t, 6, tcp)
	require.Empty(t, lang.ProtocolName(0))
}

func TestSuggest(t *testing.T) {
	for _, tt := range []struct{ word, want string }{
		{"ethenret", "ethernet"}, {"wfi", "wifi"}, {"WIFI", "wifi"}, {"loopbak", "loopback"}, {"ieee80212x", "ieee80212"},
		{"vpn", ""}, {"x", ""}, {"", ""}, {"banana", ""}, {strings.Repeat("a", 1000), ""},
	} {
		require.Equal(t, tt.want, lang.Suggest(tt.word, lang.InterfaceTypeNames()), tt.word)
	}
}
