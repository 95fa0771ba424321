// Blocking sockets: an echo server with a thread for each connection, a client with a reader and a writer thread.
import java.io.InputStream;
import java.io.OutputStream;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.Arrays;
import java.util.Random;

public final class Duplex {
    private static final int CONNECTIONS = 12;
    private static final int PIECES = 150;

    private static void serve(String host, int port) throws Exception {
        ServerSocket listener = Common.listen(host, port);
        while (true) {
            Socket socket = listener.accept();
            Common.start(() -> echo(socket));
        }
    }

    private static void echo(Socket socket) throws Exception {
        byte[] buffer = new byte[16384];
        try (socket) {
            InputStream in = socket.getInputStream();
            OutputStream out = socket.getOutputStream();
            for (int got = in.read(buffer); got >= 0; got = in.read(buffer)) {
                out.write(buffer, 0, got);
            }
        } catch (java.io.IOException error) {
            System.out.println("a client went away: " + error);
        }
    }

    private static int size(long seed, int piece) {
        return 1 + new Random(seed * 1000 + piece).nextInt(60000);
    }

    // A fifth of the pieces waits for its answer, so that both threads sleep at times.
    private static void exchange(String host, int port, long seed, int timeout) throws Exception {
        try (Socket socket = new Socket(host, port)) {
            socket.setSoTimeout(timeout); // with one, Java polls before each call, in both threads
            Object turn = new Object();
            int[] received = {0};
            Thread writer = Common.start(() -> {
                OutputStream out = socket.getOutputStream();
                for (int piece = 0; piece < PIECES; piece++) {
                    out.write(Common.bytes(seed + piece, size(seed, piece)));
                    synchronized (turn) {
                        while (piece % 5 == 4 && received[0] <= piece) {
                            turn.wait();
                        }
                    }
                }
            });
            InputStream in = socket.getInputStream();
            for (int piece = 0; piece < PIECES; piece++) {
                byte[] wanted = Common.bytes(seed + piece, size(seed, piece));
                byte[] got = in.readNBytes(wanted.length);
                Common.check(Arrays.equals(got, wanted), "piece " + piece + " of connection " + seed);
                synchronized (turn) {
                    received[0] = piece + 1;
                    turn.notifyAll();
                }
            }
            writer.join();
            socket.shutdownOutput();
            Common.check(in.read() == -1, "no end of file");
        }
    }

    public static void main(String[] words) throws Exception {
        String host = words[1];
        int port = Integer.parseInt(words[2]);
        switch (words[0]) {
            case "serve" -> serve(host, port);
            case "hold" -> Common.hold(host, port);
            default -> {
                int timeout = words[0].equals("timed") ? 4000 : 0;
                Thread[] threads = new Thread[CONNECTIONS];
                for (int number = 0; number < CONNECTIONS; number++) {
                    long seed = number * 1000L;
                    threads[number] = Common.start(() -> exchange(host, port, seed, timeout));
                }
                for (Thread thread : threads) {
                    thread.join();
                }
                System.out.println("all right");
            }
        }
    }
}
