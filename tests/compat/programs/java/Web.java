// The JDK's own HTTP: com.sun.net.httpserver that echoes, asked by java.net.http.HttpClient.
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executors;

public final class Web {
    private static final int REQUESTS = 200;
    private static final int AT_ONCE = 8;

    private static void serve(String host, int port) throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress(host, port), 128);
        server.createContext("/", Web::echo);
        server.setExecutor(Executors.newFixedThreadPool(4));
        server.start();
    }

    private static void echo(HttpExchange exchange) throws IOException {
        byte[] body = exchange.getRequestBody().readAllBytes();
        exchange.sendResponseHeaders(200, body.length == 0 ? -1 : body.length);
        exchange.getResponseBody().write(body);
        exchange.close();
    }

    private static void ask(String host, int port) {
        HttpClient client = HttpClient.newBuilder()
            .version(HttpClient.Version.HTTP_1_1).connectTimeout(Duration.ofSeconds(5)).build();
        for (int begin = 0; begin < REQUESTS; begin += AT_ONCE) {
            List<CompletableFuture<Void>> running = new ArrayList<>();
            for (int number = begin; number < begin + AT_ONCE; number++) {
                byte[] body = Common.bytes(number, 1 + number * 311);
                URI where = URI.create("http://" + host + ":" + port + "/" + number);
                HttpRequest request = HttpRequest.newBuilder(where).timeout(Duration.ofSeconds(8))
                    .POST(HttpRequest.BodyPublishers.ofByteArray(body)).build();
                running.add(client.sendAsync(request, HttpResponse.BodyHandlers.ofByteArray())
                    .thenAccept(answer -> Common.check(Arrays.equals(answer.body(), body), "a body is wrong")));
            }
            running.forEach(CompletableFuture::join);
        }
        System.out.println("all right");
    }

    public static void main(String[] words) throws IOException {
        int port = Integer.parseInt(words[2]);
        if (words[0].equals("serve")) {
            serve(words[1], port);
        } else {
            ask(words[1], port);
            System.exit(0);
        }
    }
}
