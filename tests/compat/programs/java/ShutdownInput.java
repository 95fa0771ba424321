// shutdownInput() must end a read that another thread waits in; the other direction goes on. The server is Duplex's.
import java.io.InputStream;
import java.io.OutputStream;
import java.net.Socket;

public final class ShutdownInput {
    private static final int ROUNDS = 5;

    private static void once(String host, int port) throws Exception {
        try (Socket socket = new Socket(host, port)) {
            InputStream in = socket.getInputStream();
            OutputStream out = socket.getOutputStream();
            out.write("abc".getBytes());
            Common.check(new String(in.readNBytes(3)).equals("abc"), "three bytes did not come back");
            Thread reader = Common.start(() -> Common.check(in.read() == -1, "there was a byte"));
            while (reader.getState() == Thread.State.NEW || reader.getStackTrace().length < 4) {
                Thread.onSpinWait();
            }
            reader.join(100); // it is in the read by now, and stays there
            Common.check(reader.isAlive(), "the read ended early");
            socket.shutdownInput();
            reader.join(4000);
            Common.check(!reader.isAlive(), "shutdownInput woke nobody");
            out.write("more".getBytes());
        }
    }

    public static void main(String[] words) throws Exception {
        for (int round = 0; round < ROUNDS; round++) {
            once(words[1], Integer.parseInt(words[2]));
        }
        System.out.println("all right");
    }
}
