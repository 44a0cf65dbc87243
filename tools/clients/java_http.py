# client: Java's `HttpClient`
# version: java --version
"""A program in Java. Its client asks for HTTP/2 with an `Upgrade` that has to be ignored."""

from pathlib import Path

from tried import SMALL, command, holds, tried

SOURCE = """
import java.net.URI;
import java.net.http.*;

public class Ask {
  public static void main(String[] words) throws Exception {
    HttpClient client = HttpClient.newHttpClient();
    String body = "{\\"model\\": \\"" + words[0] + "\\", \\"stream\\": " + words[1]
        + ", \\"messages\\": [{\\"role\\": \\"user\\", \\"content\\": \\"hello there\\"}]}";
    for (int i = 0; i < 3; i++) {
      HttpRequest request = HttpRequest.newBuilder(URI.create(System.getenv("LLAMASWAP_URL") + "/v1/chat/completions"))
          .header("Content-Type", "application/json").POST(HttpRequest.BodyPublishers.ofString(body)).build();
      HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
      if (answer.statusCode() != 200) throw new Exception("status " + answer.statusCode());
      System.out.println(answer.body());
    }
  }
}
"""
Path("Ask.java").write_text(SOURCE)

with tried("chat, which asks for HTTP/2"):
    holds(command("java", "Ask.java", "small", "false"), SMALL)
with tried("stream with a swap"):
    holds(command("java", "Ask.java", "large", "true"), "data: [DONE]")
