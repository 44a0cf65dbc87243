package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// certificate writes one for 127.0.0.1, which signs itself, as certificate.pem and key.pem, and both as both.pem.
func certificate(arguments []string) {
	flags := flag.NewFlagSet("certificate", flag.ExitOnError)
	folder := flags.String("folder", ".", "")
	flags.Parse(arguments)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	template := x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "127.0.0.1"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	signed, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	check(err)
	plainKey, err := x509.MarshalPKCS8PrivateKey(key)
	check(err)
	first := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed})
	second := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: plainKey})
	for name, content := range map[string][]byte{
		"certificate.pem": first, "key.pem": second, "both.pem": append(first, second...),
	} {
		check(os.WriteFile(filepath.Join(*folder, name), content, 0o600))
	}
}
