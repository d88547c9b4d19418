import java.io.ByteArrayInputStream;
import java.io.File;
import java.security.PublicKey;
import java.security.cert.CertificateFactory;
import java.util.Base64;
import javax.xml.crypto.MarshalException;
import javax.xml.crypto.dsig.XMLSignature;
import javax.xml.crypto.dsig.XMLSignatureException;
import javax.xml.crypto.dsig.XMLSignatureFactory;
import javax.xml.crypto.dsig.dom.DOMValidateContext;
import javax.xml.parsers.DocumentBuilderFactory;
import org.w3c.dom.Document;
import org.w3c.dom.Element;
import org.w3c.dom.NodeList;

/**
 * Validates every XML signature of the given files with the JDK's own implementation, under the key of the certificate in each
 * signature's KeyInfo. Prints one line per file: "FILE valid COUNT" or "FILE invalid".
 */
public final class VerifyXmlSignature {
    private static final String XMLDSIG = "http://www.w3.org/2000/09/xmldsig#";

    public static void main(String[] files) throws Exception {
        for (String file : files) {
            System.out.println(file + " " + verdict(file));
        }
    }

    private static String verdict(String file) throws Exception {
        DocumentBuilderFactory factory = DocumentBuilderFactory.newInstance();
        factory.setNamespaceAware(true);
        factory.setFeature("http://apache.org/xml/features/disallow-doctype-decl", true);
        Document document = factory.newDocumentBuilder().parse(new File(file));
        declareIds(document);
        NodeList signatures = document.getElementsByTagNameNS(XMLDSIG, "Signature");
        boolean valid = signatures.getLength() > 0;
        for (int i = 0; i < signatures.getLength(); i++) {
            valid &= isValid((Element) signatures.item(i));
        }
        return valid ? "valid " + signatures.getLength() : "invalid";
    }

    /** Without a schema the parser does not know which attributes are ids. */
    private static void declareIds(Document document) {
        NodeList elements = document.getElementsByTagName("*");
        for (int i = 0; i < elements.getLength(); i++) {
            Element element = (Element) elements.item(i);
            for (String name : new String[] {"id", "Id"}) {
                if (element.hasAttribute(name)) {
                    element.setIdAttribute(name, true);
                }
            }
        }
    }

    private static boolean isValid(Element signature) throws Exception {
        String certificate = signature.getElementsByTagNameNS(XMLDSIG, "X509Certificate").item(0).getTextContent();
        ByteArrayInputStream der = new ByteArrayInputStream(Base64.getMimeDecoder().decode(certificate));
        PublicKey key = CertificateFactory.getInstance("X.509").generateCertificate(der).getPublicKey();
        DOMValidateContext context = new DOMValidateContext(key, signature);
        context.setProperty("org.jcp.xml.dsig.secureValidation", true);
        try {
            XMLSignature unmarshalled = XMLSignatureFactory.getInstance("DOM").unmarshalXMLSignature(context);
            return unmarshalled.getSignedInfo().getReferences().size() == 3 && unmarshalled.validate(context);
        } catch (MarshalException | XMLSignatureException refused) {
            return false;
        }
    }
}
